// How things stand: counts, the next deadlines, and what is going on.

import { get } from '../api.js';
import { badge, h, link, section, table } from '../dom.js';
import { when } from '../format.js';
import { t, word } from '../i18n.js';
import { learnCustomers } from '../names.js';
import { OPEN, casesTable, tile } from '../parts.js';
import { now } from '../timers.js';
import { all, missing } from '../trouble.js';

const MOST = 100;
const SHOWN = 8;
const SOON_MS = 2 * 3600 * 1000;

async function load() {
  const soon = new Date(now() + SOON_MS).toISOString();
  const data = await all({
    counts: get('/cases/counts'),
    next: get('/cases', { states: OPEN, page_size: SHOWN }),
    verdicts: get('/verdicts/counts'),
    soon: get('/cases', { states: OPEN, deadline_until: soon, page_size: MOST }), notices: get('/notices/counts'),
    offers: get('/work-orders', { states: 'WORK_ORDER_STATE_OFFERED', page_size: MOST }),
    problems: get('/problems', { page_size: MOST }),
  });
  await learnCustomers((data.next.cases ?? []).map((one) => one.customer_id));
  return data;
}

const sum = (list, field, wanted) => list.filter(wanted).reduce((total, one) => total + Number(one[field]), 0);
const many = (page, list) => `${list.length}${page.next_page_token ? '+' : ''}`;
const open = (problem) => ['PROBLEM_STATE_OPEN', 'PROBLEM_STATE_CAUSE_FOUND'].includes(problem.state);

function tiles({ counts, verdicts, soon, notices, offers, problems }) {
  const made = [];
  const add = (part, make) => made.push(part.problem ? null : make());
  add(
    counts,
    () => tile(
      t('home.open'),
      sum(counts.counts, 'cases', (one) => OPEN.includes(one.state)),
      t('home.new', { n: sum(counts.counts, 'cases', (one) => one.state === OPEN[0]) }),
      { href: '/queue' },
    ),
  );
  add(
    soon,
    () => tile(
      t('home.soon'), many(soon, soon.cases), t('home.soon_sub'),
      { href: '/queue', alarm: soon.cases.length > 0 && 'number' },
    ),
  );
  add(verdicts, () => promises(verdicts.counts));
  add(
    problems,
    () => tile(
      t('home.problems'), problems.problems.filter(open).length,
      t('home.problems_sub', { n: sum(problems.problems, 'not_told', open) }),
      { href: '/problems', alarm: sum(problems.problems, 'not_told', open) > 0 && 'sub' },
    ),
  );
  add(
    offers,
    () => tile(t('home.offers'), many(offers, offers.work_orders), t('home.offers_sub'), { href: '/partners' }),
  );
  add(notices, () => told(notices.counts));
  return h('ul', { class: 'tiles' }, made);
}

function promises(counts) {
  const kept = sum(counts, 'clocks', (one) => one.outcome === 'OUTCOME_KEPT');
  const broken = sum(counts, 'clocks', (one) => one.outcome === 'OUTCOME_BROKEN');
  const share = kept + broken ? `${((100 * kept) / (kept + broken)).toFixed(1)} %` : '–';
  return tile(t('home.kept'), share, t('home.kept_sub', { kept, broken }));
}

function told(counts) {
  const of = (state) => sum(counts, 'notices', (one) => one.state === `NOTICE_STATE_${state}`);
  return tile(
    t('home.notices'), of('INITIAL'),
    t('home.notices_sub', { sent: of('COMPLETED'), failed: of('FAILED') }),
    { href: '/notices', alarm: of('FAILED') > 0 && 'sub' },
  );
}

function goingOn(problems) {
  const rows = problems.filter(open).map((one) => ({
    cells: [
      link(`/problems/${one.problem_id}`, one.title), badge(word('problem_state', one.state), 'warn'), one.affected,
      one.not_told, when(one.expected_until) || '–',
    ],
  }));
  const columns = [{ head: t('problems.name'), class: 'wide' }, { head: t('problems.state') }, {
    head: t('problems.affected'),
    class: 'number',
  },
    { head: t('problems.not_told'), class: 'number' }, { head: t('problems.until'), class: 'time' }];
  return table({ caption: t('home.affecting'), columns, rows, empty: t('home.no_problems') });
}

function render(data) {
  return h('div', null, h('h1', null, t('home.title')), tiles(data),
    section(t('home.next'), data.next.problem ? missing(data.next.problem) : casesTable(
      data.next.cases,
      [],
      { caption: t('home.next'), empty: t('queue.empty') },
    ),
      h('p', null, link('/queue', t('home.all')))),
    section(
      t('home.affecting'),
      data.problems.problem ? missing(data.problems.problem) : goingOn(data.problems.problems),
    ));
}

export default { path: /^\/$/, title: () => t('home.title'), load, render, concerns: () => true };
