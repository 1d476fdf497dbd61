// One customer: the brief for the moment of contact, then everything that happened.

import { get } from '../api.js';
import { badge, facts, h, link, section } from '../dom.js';
import { money, when } from '../format.js';
import { t, word } from '../i18n.js';
import { learnCustomers, learnPartners } from '../names.js';
import { around } from '../notice.js';
import { OPEN, caseTitle, casesTable, promiseState } from '../parts.js';
import { timeline } from '../timeline.js';
import { now } from '../timers.js';
import { all, missing } from '../trouble.js';

const SHOWN_BROKEN = 5;

async function load({ params: { id } }) {
  const [customer, rest] = await Promise.all([
    get(`/customers/${id}`),
    all({
      timeline: get(`/customers/${id}/timeline`),
      cases: get('/cases', { customer_id: id, page_size: 100 }),
      notices: get('/notices', { customer_id: id, page_size: 20 }),
    }),
    learnPartners(), learnCustomers([id]),
  ]);
  const ids = (rest.cases.cases ?? []).map((one) => one.case_id);
  const { clocks } = await all({ clocks: ids.length ? get('/clocks', { case_ids: ids }) : { clocks: [] } });
  return { customer, ...rest, clocks };
}

function head({ customer: one }) {
  const { contact, preferences } = one;
  const list = (kind, values) => values.map((value) => word(kind, value)).join(t('comma'));
  return h('header', { class: 'head' },
    h('p', { class: 'over' },
      word('party_kind', one.kind),
      badge(word('customer_stage', one.stage), one.stage === 'CUSTOMER_STAGE_CHURNED' ? 'bad' : ''),
    ),
    h('h1', null, name(one)),
    one.erased && h('p', { class: 'empty' }, t('erased.text')),
    facts([
      [t('customer.phone'), contact?.phones?.join(t('comma'))],
      [t('customer.email'), contact?.email],
      [t('customer.channels'), list('channel', preferences?.channels ?? [])],
      [t('customer.language'), preferences?.language],
      [t('customer.region'), preferences?.region],
      [t('customer.zone'), preferences?.time_zone],
      [t('customer.consents'), list('consent_purpose', one.consents)],
    ]));
}

const name = (one) => (one.erased ? t('erased.name') : one.contact?.name || one.customer_id.slice(0, 8));

const panel = (title, content) => h('section', { class: 'panel' }, h('h3', null, title), content);
const list = (items, empty) => (items.length ? h('ul', null, items) : h('p', { class: 'empty' }, empty));

function brief(data) {
  return h('section', null, h('h2', null, t('customer.brief')), h('div', { class: 'panels' },
    panel(t('customer.open'), openPromises(data)), panel(t('customer.broken'), broken(data)),
    panel(t('customer.said'), lastWord(data.notices)), panel(t('customer.items'), items(data.customer.items)),
    data.customer.lost_deals?.length > 0 && panel(
      t('customer.lost'),
      h('ul', null, data.customer.lost_deals.map(lost)),
    )));
}

const lost = (deal) => h('li', null,
  t('customer.lost_line', { sum: money(deal.sum), subject: deal.subject, reason: word('loss_reason', deal.reason) }),
  ' · ', when(deal.lost_at),
);

// Clocks that run, and when we said that we would be in touch.
function openPromises({ clocks, cases, notices }) {
  if (clocks.problem) return missing(clocks.problem);
  const owed = (one) => one.outcome === 'OUTCOME_UNSPECIFIED' && OPEN.includes(caseOf(one, cases)?.state);
  const running = clocks.clocks.filter(owed);
  const sent = (notices.notices ?? []).filter((one) => one.state === 'NOTICE_STATE_COMPLETED');
  const touch = sent.find((one) => Date.parse(one.next_touch_at) > now());
  return list([
    ...running.map((one) => h('li', null, promise(one, cases), ' ', promiseState(one, caseOf(one, cases)))),
    touch && h('li', null, around('customer.next_touch', when(touch.next_touch_at))),
  ].filter(Boolean), t('customer.no_open'));
}

function broken({ clocks, cases }) {
  if (clocks.problem) return missing(clocks.problem);
  const found = clocks.clocks.filter((one) => one.outcome === 'OUTCOME_BROKEN');
  found.sort((a, b) => b.due_at.localeCompare(a.due_at));
  return list(
    found.slice(0, SHOWN_BROKEN).map((one) => h('li', null,
      promise(one, cases), ' ', promiseState(one), ' ', when(one.due_at),
    )),
    t('customer.no_broken'),
  );
}

const caseOf = (clock, cases) => cases.cases?.find((one) => one.case_id === clock.case_id);
const promise = (clock, cases) => [
  word('target_kind', clock.target), ' · ',
  link(`/cases/${clock.case_id}`, caseTitle(caseOf(clock, cases) ?? clock)),
];

function lastWord(notices) {
  if (notices.problem) return missing(notices.problem);
  const said = notices.notices.find((one) => one.state === 'NOTICE_STATE_COMPLETED');
  if (!said) return h('p', { class: 'empty' }, t('customer.no_said'));
  return h('div', null, h('p', null, h('strong', null, said.title || word('occasion', said.occasion))),
    h('blockquote', null, h('p', null, said.erased ? t('erased.text') : said.card?.what || said.body)),
    h('p', { class: 'quiet' }, word('channel', said.channel), ' · ', when(said.ended_at)));
}

const items = (owned) => list(owned.map(item), t('customer.no_items'));

function item(one) {
  const warranty = one.warranty_until && [one.site && ' · ', around('customer.warranty', when(one.warranty_until))];
  return h('li', null,
    h('strong', null, one.product), one.serial && [' ', t('customer.serial', { serial: one.serial })],
    h('div', { class: 'quiet' }, one.site, warranty));
}

function render(data, { params: { id } }) {
  const cases = data.cases.problem ? missing(data.cases.problem) : casesTable(
    data.cases.cases,
    [],
    { caption: t('customer.cases'), empty: t('customer.no_cases'), withCustomer: false },
  );
  return h('div', null, head(data), brief(data), section(t('customer.cases'), cases),
    section(
      t('customer.timeline'),
      data.timeline.problem ? missing(data.timeline.problem) : timeline(data.timeline, `/customers/${id}/timeline`),
    ));
}

export default {
  path: /^\/customers\/(?<id>[^/]+)$/,
  title: (data) => name(data.customer),
  load,
  render,
  concerns: (change, { params }) => change.customer_id === params.id,
};
