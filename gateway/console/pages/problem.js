// One problem: its cause, whom it touches, and who was told before they called.

import { get } from '../api.js';
import { badge, facts, h, link, section, table } from '../dom.js';
import { short, when } from '../format.js';
import { t, word } from '../i18n.js';
import { customerLink, learnCustomers } from '../names.js';
import { priority, tile } from '../parts.js';
import { narrow } from '../router.js';
import { LOOKS } from './problems.js';

async function load({ params: { id }, query }) {
  const [found, touched] = await Promise.all([
    get(`/problems/${id}`),
    get(`/problems/${id}/affected`, { page_size: 100, page_token: query.from }),
  ]);
  await learnCustomers(touched.affected.map((one) => one.customer_id));
  return { ...found, ...touched };
}

function verdict({ told_at: told, called_at: called }) {
  if (called && (!told || called < told)) return badge(t('problem.first_them'), 'bad');
  return told ? badge(t('problem.first_us'), 'good') : badge(t('problem.first_none'), 'warn');
}

function affected(list) {
  const columns = [
    { head: t('queue.customer'), class: 'wide' },
    { head: t('problem.items'), class: 'number' },
    { head: t('problem.told'), class: 'time' },
    { head: t('problem.called'), class: 'time' },
    { head: t('problem.verdict') },
  ];
  const rows = list.map((one) => ({
    cells: [
      customerLink(one.customer_id), one.item_ids.length, when(one.told_at) || '–', when(one.called_at) || '–',
      verdict(one),
    ],
  }));
  return table({ caption: t('problem.affected_title'), columns, rows, empty: t('problem.no_affected') });
}

function render(data) {
  const { problem: one } = data;
  const cases = data.case_ids.map((id, at) => [at > 0 && t('comma'), link(`/cases/${id}`, short(id))]);
  return h('div', null,
    h('header', { class: 'head' },
      h('p', { class: 'over' }, t('problems.name'), badge(word('problem_state', one.state), LOOKS[one.state])),
      h('h1', null, one.title),
      facts([
        [t('problem.cause'), one.cause || t('problem.no_cause')],
        [t('problem.remedy'), one.remedy],
        [t('case.priority'), priority(one.priority)],
        [t('problem.product'), one.scope?.product],
        [t('problem.regions'), one.scope?.regions.join(t('comma'))],
        [t('problems.began'), when(one.scope?.began_at ?? one.opened_at)],
        [t('problems.until'), when(one.expected_until)],
        [t('problem.cases'), cases],
      ])),
    h('ul', { class: 'tiles' },
      tile(t('problems.affected'), one.affected), tile(t('problems.told_first'), one.told_first),
      tile(t('problems.not_told'), one.not_told, '', { alarm: one.not_told > 0 && 'number' }),
      tile(t('problems.called_first'), one.called_first),
    ),
    section(t('problem.affected_title'), affected(data.affected),
      data.next_page_token && h('button', { type: 'button', onclick: () => narrow({ from: data.next_page_token }) },
        t('action.more'),
      )));
}

export default {
  path: /^\/problems\/(?<id>[^/]+)$/,
  title: (data) => data.problem.title,
  load,
  render,
  concerns: (change, { params }) =>
    change.problem_id === params.id || /\.(Problem|RootCause|Case(Opened|Linked))/.test(change.type),
};
