// Parts that several pages show in the same way.

import { badge, h, link, table } from './dom.js';
import { duration, short, when } from './format.js';
import { t, word } from './i18n.js';
import { customerLink, partnerName } from './names.js';
import { countdown } from './timers.js';

export const OPEN = ['CASE_STATE_ACKNOWLEDGED', 'CASE_STATE_IN_PROGRESS', 'CASE_STATE_PENDING', 'CASE_STATE_HELD'];
const STATE_LOOKS = {
  CASE_STATE_ACKNOWLEDGED: 'new',
  CASE_STATE_IN_PROGRESS: 'going',
  CASE_STATE_PENDING: 'wait',
  CASE_STATE_HELD: 'wait',
};
const OUTCOME_LOOKS = { OUTCOME_KEPT: 'good', OUTCOME_BROKEN: 'bad', OUTCOME_RELEASED: '' };

export const stateBadge = (state) => badge(word('case_state', state), STATE_LOOKS[state] ?? 'over');

export function caseTitle(one) {
  const { kind, category, subcategory, symptom } = one.classification ?? {};
  const about = [category, subcategory, symptom].filter(Boolean).join(' / ');
  const title = [word('case_kind', kind), about].filter(Boolean).join(' · ');
  return title || t('case.number', { id: short(one.case_id) });
}

export const caseNumber = (one) => one.external_reference || short(one.case_id);

export const owner = (one) => [one.team, one.partner, one.assignee].filter(Boolean).join(' · ') || h(
  'span',
  { class: 'quiet' },
  t('queue.nobody'),
);

export const priority = (value) => h('span', { class: `priority ${word('priority', value) && value.toLowerCase()}` },
  word('priority', value),
);

// What a clock says of a promise to a case: kept, broken, that it stands, or how long there still is.
export function promiseState(clock, one) {
  const outcome = word('outcome', clock.outcome);
  if (outcome) return badge(outcome, OUTCOME_LOOKS[clock.outcome]);
  if (clock.pause_on?.includes(one?.waiting_for)) {
    return badge(t('clock.stands', { waiting: word('waiting_for', one.waiting_for) }), 'wait');
  }
  return countdown(clock.due_at);
}

export function casesTable(cases, clocks, { caption, empty, withCustomer = true }) {
  const columns = [
    { head: t('queue.due'), class: 'due' },
    { head: t('queue.case'), class: 'wide' },
    withCustomer && { head: t('queue.customer') },
    { head: t('queue.state') },
    { head: t('queue.priority') },
    { head: t('queue.owner') },
    { head: t('queue.opened'), class: 'time' },
  ].filter(Boolean);
  const rows = cases.map((one) => ({
    caseId: one.case_id,
    cells: [
      countdown(one.deadline_at),
      [link(`/cases/${one.case_id}`, caseTitle(one)), h('small', null, caseNumber(one), warnings(one, clocks))],
      withCustomer && customerLink(one.customer_id),
      stateBadge(one.state),
      priority(one.priority),
      owner(one),
      when(one.opened_at),
    ].filter((cell) => cell !== false),
  }));
  return table({ caption, columns, rows, empty });
}

function warnings(one, clocks) {
  const own = clocks.filter((clock) => clock.case_id === one.case_id);
  const broken = own.filter((clock) => clock.outcome === 'OUTCOME_BROKEN');
  const running = own.filter((clock) => clock.outcome === 'OUTCOME_UNSPECIFIED');
  const warned = running.flatMap((clock) => clock.warned_percents);
  return [
    broken.map((clock) => badge(`${t('queue.broken')} · ${word('target_kind', clock.target)}`, 'bad')),
    warned.length > 0 && badge(t('queue.warned', { n: Math.max(...warned) }), 'warn'),
    one.reopen_count > 0 && badge(t('queue.reopened', { n: one.reopen_count })),
  ];
}

// One number on a strip; with an address it leads there. `alarm` is the part that wants attention: number or sub.
export function tile(label, value, sub, { href, alarm } = {}) {
  const inner = [
    h('span', { class: 'label' }, label),
    h('span', { class: 'number' }, value),
    h('span', { class: 'sub' }, sub),
  ];
  return h('li', { class: alarm && `alarm-${alarm}` }, href ? h('a', { href }, inner) : h('div', null, inner));
}

export const partnerNames = (ids) => ids.map(partnerName).join(t('comma'));

export const budget = (seconds) => duration(seconds, true);
