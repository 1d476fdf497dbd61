// The queue: what has to be done, the nearest deadline first.

import { get } from '../api.js';
import { acknowledge, addNote } from '../actions.js';
import { h } from '../dom.js';
import { choice, field, input } from '../dialog.js';
import { t, word } from '../i18n.js';
import { focusedCase } from '../keys.js';
import { learnCustomers } from '../names.js';
import { OPEN, casesTable } from '../parts.js';
import { narrow } from '../router.js';
import { all } from '../trouble.js';

const SIZE = 50;
const STATES = [...OPEN, 'CASE_STATE_RESOLVED', 'CASE_STATE_CLOSED', 'CASE_STATE_CANCELLED', 'CASE_STATE_REJECTED'];

async function load({ query }) {
  const states = !query.state ? OPEN : query.state === 'all' ? [] : [query.state];
  const page = await get(
    '/cases',
    { states, team: query.team, partner: query.partner, page_size: SIZE, page_token: query.from },
  );
  const ids = page.cases.map((one) => one.case_id);
  const [{ clocks }] = await Promise.all([
    all({ clocks: ids.length ? get('/clocks', { case_ids: ids }) : { clocks: [] } }),
    learnCustomers(page.cases.map((one) => one.customer_id)),
  ]);
  return { ...page, clocks: clocks.clocks ?? [] };
}

function filters(query) {
  const states = [
    ['', t('queue.all_open')],
    ...STATES.map((state) => [state, word('case_state', state)]),
    ['all', t('queue.all')],
  ];
  const form = h('form', { class: 'filters', role: 'search' },
    field(
      t('queue.filter_state'),
      choice(
        'state',
        states.map(([value, text]) => [value, text, value === (query.state ?? '')]),
        { id: 'filter-state', 'data-filter': true, onchange: () => form.requestSubmit() },
      ),
    ),
    field(t('queue.team'), input('team', { id: 'filter-team', value: query.team ?? '' })),
    field(t('queue.partner'), input('partner', { id: 'filter-partner', value: query.partner ?? '' })),
    h('button', { type: 'submit' }, t('action.filter')),
    Object.keys(query).length > 0 && h('button', { type: 'button', class: 'quiet', onclick: () => narrow({}) },
      t('action.clear'),
    ));
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    narrow(Object.fromEntries(new FormData(form)));
  });
  return form;
}

function render(data, { query }) {
  const count = t(data.next_page_token ? 'queue.count_more' : 'queue.count', { n: data.cases.length });
  return h('div', null, h('h1', null, t('queue.title')), filters(query),
    h('p', { class: 'count', role: 'status' }, count),
    casesTable(data.cases, data.clocks, { caption: t('queue.title'), empty: t('queue.empty') }),
    data.next_page_token && h(
      'button',
      { type: 'button', onclick: () => narrow({ ...query, from: data.next_page_token }) },
      t('action.more'),
    ));
}

export default {
  path: /^\/queue$/,
  title: () => t('queue.title'),
  load,
  render,
  concerns: (change) => /^kept\.(case|sla)\./.test(change.type),
  keys: () => ({
    a: () => focusedCase() && acknowledge(focusedCase()),
    n: () => focusedCase() && addNote(focusedCase()),
  }),
};
