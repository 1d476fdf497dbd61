// Problems: one cause that touches many.

import { get } from '../api.js';
import { badge, h, link, table } from '../dom.js';
import { when } from '../format.js';
import { t, word } from '../i18n.js';
import { narrow } from '../router.js';

export const LOOKS = {
  PROBLEM_STATE_OPEN: 'bad',
  PROBLEM_STATE_CAUSE_FOUND: 'warn',
  PROBLEM_STATE_RESOLVED: 'good',
  PROBLEM_STATE_CLOSED: 'over',
};

const load = ({ query }) => get('/problems', { page_size: 50, page_token: query.from });

function render(data) {
  const columns = [
    { head: t('problems.name'), class: 'wide' },
    { head: t('problems.state') },
    { head: t('problems.touches') },
    { head: t('problems.began'), class: 'time' },
    { head: t('problems.until'), class: 'time' },
    ...['affected', 'told_first', 'not_told', 'called_first'].map((name) => ({
      head: t(`problems.${name}`),
      class: 'number',
    })),
  ];
  const rows = data.problems.map((one) => ({
    cells: [
      link(`/problems/${one.problem_id}`, one.title),
      badge(word('problem_state', one.state), LOOKS[one.state]),
      [one.scope?.product, h('small', null, one.scope?.regions.join(t('comma')))],
      when(one.scope?.began_at ?? one.opened_at),
      when(one.expected_until) || '–',
      one.affected,
      one.told_first,
      one.not_told,
      one.called_first,
    ],
  }));
  return h('div', null, h('h1', null, t('problems.title')), table({
    caption: t('problems.title'),
    columns, rows,
    empty: t('problems.empty'),
  }),
    data.next_page_token && h('button', { type: 'button', onclick: () => narrow({ from: data.next_page_token }) },
      t('action.more'),
    ));
}

export default {
  path: /^\/problems$/,
  title: () => t('problems.title'),
  load, render,
  concerns: (change) => 'problem_id' in change || /\.(Problem|RootCause|Notice)/.test(change.type),
};
