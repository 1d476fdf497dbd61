// One case: how it stands, what may be done, and everything that happened.

import { get } from '../api.js';
import { acknowledge, addNote, caseButtons } from '../actions.js';
import { badge, facts, h, section } from '../dom.js';
import { explain } from '../explain.js';
import { span, when } from '../format.js';
import { t, word } from '../i18n.js';
import { customerLink, learnCustomers, learnPartners } from '../names.js';
import { caseNumber, caseTitle, owner, partnerNames, priority, promiseState, stateBadge } from '../parts.js';
import { notice } from '../notice.js';
import { timeline } from '../timeline.js';
import { countdown } from '../timers.js';
import { all, missing } from '../trouble.js';

async function load({ params: { id } }) {
  const [file, rest] = await Promise.all([
    get(`/cases/${id}`),
    all({
      timeline: get(`/cases/${id}/timeline`),
      clocks: get('/clocks', { case_ids: id }),
      orders: get('/work-orders', { case_id: id }),
      notices: get('/notices', { case_id: id, page_size: 10 }),
    }),
    learnPartners(),
  ]);
  await learnCustomers([file.case.customer_id]);
  return { ...file, ...rest };
}

function head({ case: one }) {
  return h('header', { class: 'head' },
    h('p', { class: 'over' },
      t('case.number', { id: caseNumber(one) }), stateBadge(one.state),
      one.reopen_count > 0 && badge(t('queue.reopened', { n: one.reopen_count })),
    ),
    h('h1', null, caseTitle(one)),
    facts([
      [t('case.deadline'), countdown(one.deadline_at)],
      [t('case.customer'), customerLink(one.customer_id)],
      [t('case.priority'), priority(one.priority)],
      [t('case.owner'), owner(one)],
      [t('case.waiting'), word('waiting_for', one.waiting_for)],
      [t('case.region'), one.region],
      [t('case.opened'), when(one.opened_at)],
    ]),
    caseButtons(one));
}

function words({ need, urgency, erased }) {
  if (erased) return h('p', { class: 'empty' }, t('erased.text'));
  if (!need && !urgency) return h('p', { class: 'empty' }, t('case.nothing_said'));
  return h('div', { class: 'words' },
    need && h('blockquote', null, h('p', null, need)),
    urgency && facts([[t('case.urgency'), urgency]]),
  );
}

function promises(list, one) {
  if (!list.length) return h('p', { class: 'empty' }, t('case.no_promises'));
  return h('ul', { class: 'cards' }, list.map((clock) => h('li', null,
    h('div', { class: 'line' }, h('strong', null, word('target_kind', clock.target)), promiseState(clock, one)),
    h('div', { class: 'line quiet' }, h('span', null, settled(clock)),
      h(
        'button',
        { type: 'button', class: 'link', id: `why-${clock.clock_id}`, onclick: () => explain(clock.clock_id) },
        t('clock.why'),
      )))));
}

const settled = (clock) => [
  clock.outcome !== 'OUTCOME_UNSPECIFIED' && [t('clock.due'), ' ', when(clock.due_at)],
  clock.corrected && [' · ', t('clock.corrected')],
];

function visits(list) {
  if (!list.length) return h('p', { class: 'empty' }, t('case.no_visits'));
  return h('ul', { class: 'cards' }, list.map((one) => h('li', null,
    h('div', { class: 'line' },
      h('strong', null, one.partner_id ? partnerNames([one.partner_id]) : partnerNames(one.partner_ids)),
      badge(word('work_order_state', one.state), one.state === 'WORK_ORDER_STATE_EXPIRED' ? 'bad' : ''),
    ),
    h('div', { class: 'quiet' }, one.product, ' · ', one.skill, one.technician && [' · ', one.technician]),
    h('div', { class: 'quiet' },
      one.arrival ? span(one.arrival.from, one.arrival.until) : span(one.window?.from, one.window?.until),
    ),
    one.state === 'WORK_ORDER_STATE_OFFERED' && h('div', null, t('partner.expires'), ' ', countdown(one.expires_at)))));
}

const part = (read, show) => (read.problem ? missing(read.problem) : show(read));

function render(data, { params: { id } }) {
  return h('div', null, head(data), section(t('case.need'), words(data)), h('div', { class: 'columns' },
    h('div', null,
      section(
        t('case.timeline'),
        part(data.timeline, (page) => timeline(withNotes(page, data), `/cases/${id}/timeline`)),
      ),
    ),
    h('aside', { 'aria-label': t('case.promises') },
      section(t('case.promises'), part(data.clocks, (read) => promises(read.clocks, data.case))),
      section(t('case.visits'), part(data.orders, (read) => visits(read.work_orders))),
      section(
        t('case.notices'),
        part(
          data.notices,
          (read) => (read.notices.length ? read.notices.map((one) => notice(one, { about: false })) : h(
            'p',
            { class: 'empty' },
            t('case.no_notices'),
          )),
        ),
      ))));
}

// Notes come opened with the case too: where the timeline has no words of its own, it takes them from there.
function withNotes(page, { notes }) {
  const same = (note, item) => note.occurred_at === item.occurred_at && note.actor === item.actor;
  const opened = (item) => ({
    ...item,
    texts: { text: item.texts?.text || notes.find((note) => same(note, item))?.text },
  });
  const isNote = (item) => item.type === 'kept.case.v1.NoteAdded';
  return { ...page, items: page.items.map((item) => (isNote(item) ? opened(item) : item)) };
}

export default {
  path: /^\/cases\/(?<id>[^/]+)$/,
  title: (data) => caseTitle(data.case),
  load,
  render,
  concerns: (change, { params }, data) =>
    change.case_id === params.id || (data && change.customer_id === data.case.customer_id),
  keys: ({ case: one }) => ({
    a: () => one.state === 'CASE_STATE_ACKNOWLEDGED' && acknowledge(one.case_id),
    n: () => addNote(one.case_id),
  }),
};
