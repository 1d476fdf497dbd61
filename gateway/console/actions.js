// What a person does with a case or a visit: each a small form that posts one command.

import { choice, field, input, openForm } from './dialog.js';
import { h } from './dom.js';
import { t, word } from './i18n.js';
import { offerVisit } from './offer.js';

const WAITING = ['WAITING_FOR_CUSTOMER', 'WAITING_FOR_PARTNER', 'WAITING_FOR_PARTS', 'WAITING_FOR_PROBLEM'];
const AUDIENCES = ['NOTE_AUDIENCE_INTERNAL', 'NOTE_AUDIENCE_CUSTOMER'];
const MAY = {
  CASE_STATE_ACKNOWLEDGED: ['acknowledge', 'assign', 'offer', 'hold', 'resolve', 'note'],
  CASE_STATE_IN_PROGRESS: ['resolve', 'assign', 'offer', 'hold', 'note'],
  CASE_STATE_PENDING: ['resume', 'assign', 'offer', 'resolve', 'note'],
  CASE_STATE_HELD: ['resume', 'assign', 'offer', 'resolve', 'note'],
  CASE_STATE_RESOLVED: ['close', 'reopen', 'note'],
  CASE_STATE_CLOSED: ['reopen', 'note'],
};

const reason = (attributes = {}) => field(t('form.reason'), input('reason', { maxlength: 500, ...attributes }));
const plain = (data) => Object.fromEntries([...data].filter(([, value]) => value !== ''));
const moment = (local) => (local ? new Date(local).toISOString() : undefined);

function form(caseId, name, rest) {
  openForm({
    title: t(`do.${name}`),
    submit: t(`do.${name}`),
    path: `/cases/${caseId}/${name}`,
    body: plain,
    fields: [],
    ...rest,
  });
}

export const acknowledge = (id) => form(id, 'acknowledge', { intro: t('form.acknowledge_intro') });

export function addNote(id) {
  form(id, 'note', {
    path: `/cases/${id}/notes`,
    fields: [
      field(t('form.audience'), choice('audience', AUDIENCES.map((one) => [one, word('note_audience', one)]))),
      field(t('form.text'), h('textarea', { name: 'text', rows: 5, required: true, maxlength: 4000 })),
    ],
  });
}

const DO = {
  acknowledge,
  note: addNote,
  offer: (id, one) => offerVisit(one),
  assign: (id) => form(id, 'assign', {
    fields: [
      field(t('form.team_or_partner'), choice('kind', [['team', t('form.team')], ['partner', t('form.partner')]])),
      field(t('form.team_or_partner'), input('name', { required: true, maxlength: 200 })),
      field(t('form.assignee'), input('assignee', { maxlength: 200 })),
    ],
    body: (data) => ({ [data.get('kind')]: data.get('name'), assignee: data.get('assignee') }),
  }),
  hold: (id) => form(
    id, 'hold',
    { fields: [field(t('form.waiting_for'), choice('waiting_for', WAITING.map((one) => [one, word('waiting_for', one)]))), reason({ required: true })] },
  ),
  resume: (id) => form(id, 'resume', { fields: [reason({ required: true })] }),
  resolve: (id) => form(id, 'resolve', { fields: [reason({ required: true })] }),
  reopen: (id) => form(id, 'reopen', { fields: [reason({ required: true })] }),
  close: (id) => form(id, 'close', {
    fields: [
      h('label', { class: 'check' }, h('input', { type: 'checkbox', name: 'confirmed' }), t('form.confirmed')),
      field(t('form.reason'), input('reason', { maxlength: 500 }), t('form.close_hint')),
    ],
    body: (data) => (data.has('confirmed') ? { customer_confirmed: true } : { reason: data.get('reason') }),
  }),
};

export function caseButtons(one) {
  const names = MAY[one.state] ?? ['note'];
  return h('div', { class: 'buttons' }, names.map((name, at) =>
    h(
      'button',
      { type: 'button', id: `do-${name}`, class: at === 0 ? 'main' : null, onclick: () => DO[name](one.case_id, one) },
      t(`do.${name}`),
    )));
}

// Work orders

const order = (one, name, rest) => openForm({
  title: t(`do.${name}`),
  submit: t(`do.${name}`),
  path: `/work-orders/${one.work_order_id}/${name}`,
  body: plain,
  fields: [],
  ...rest,
});

export function visitButtons(one, partnerId) {
  const accept = () => order(one, 'accept', {
    fields: [
      field(t('form.technician'), input('technician', { required: true, maxlength: 200 })),
      ...windowFields(one.window),
    ],
    body: (data) => ({
      partner_id: partnerId,
      technician: data.get('technician'),
      arrival: { from: moment(data.get('from')), until: moment(data.get('until')) },
    }),
  });
  const decline = () => order(
    one, 'decline',
    { fields: [reason({ required: true })], body: (data) => ({ ...plain(data), partner_id: partnerId }) },
  );
  const arrive = () => order(one, 'arrive', { intro: t('form.arrive_intro') });
  const complete = () => order(
    one, 'complete',
    { fields: [field(t('form.outcome'), input('outcome', { required: true, maxlength: 500 }), t('form.outcome_hint'))] },
  );
  const may = {
    WORK_ORDER_STATE_OFFERED: { accept, decline },
    WORK_ORDER_STATE_ACCEPTED: { arrive, complete },
    WORK_ORDER_STATE_ARRIVED: { complete },
  };
  return h('div', { class: 'buttons' },
    Object.entries(may[one.state] ?? {}).map(([name, act]) => h('button', { type: 'button', onclick: act },
      t(`do.${name}`),
    )),
  );
}

// A moment as a local date and time field has it.
export function localTime(at) {
  const then = new Date(at);
  return new Date(then - then.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export function windowFields(window) {
  const one = (name, at) => field(
    t(`form.${name}`),
    input(name, { type: 'datetime-local', required: true, value: at ? localTime(at) : '' }),
  );
  return [one('from', window?.from), one('until', window?.until)];
}
