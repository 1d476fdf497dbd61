// A partner's board: what it has to answer and until when, where it is expected, and what it has taken on.

import { get } from '../api.js';
import { visitButtons } from '../actions.js';
import { badge, h, link, section, table } from '../dom.js';
import { span, when } from '../format.js';
import { t, word } from '../i18n.js';
import { learnCustomers, customerLink } from '../names.js';
import { around } from '../notice.js';
import { countdown } from '../timers.js';
import { admission } from './partners.js';

const GOING = ['WORK_ORDER_STATE_ACCEPTED', 'WORK_ORDER_STATE_ARRIVED'];

async function load({ params: { id } }) {
  const [partner, orders] = await Promise.all([
    get(`/partners/${id}`),
    get('/work-orders', { partner_id: id, page_size: 100 }),
  ]);
  await learnCustomers(orders.work_orders.map((one) => one.customer_id));
  return { ...partner, orders: orders.work_orders };
}

const visit = (one) => [
  link(`/cases/${one.case_id}`, one.product),
  h('small', null, one.skill, one.round > 1 && [' · ', t('partner.round', { n: one.round })]),
];
const common = () => [
  { head: t('partner.visit'), class: 'wide' },
  { head: t('queue.customer') },
  { head: t('partner.where') },
];

function offers(orders, id) {
  const columns = [
    { head: t('partner.expires'), class: 'due' },
    ...common(),
    { head: t('partner.window'), class: 'time' },
    { head: t('partner.actions') },
  ];
  const rows = orders.map((one) => ({
    cells: [countdown(one.expires_at), visit(one), customerLink(one.customer_id), one.region, span(
      one.window?.from, one.window?.until,
    ),
      one.declined_by.includes(id) ? badge(t('partner.declined_own')) : visitButtons(one, id)],
  }));
  return table({ caption: t('partner.offers'), columns, rows, empty: t('partner.no_offers') });
}

const arrival = (one) => h('small', null, span(one.arrival?.from, one.arrival?.until));

function visits(orders, id) {
  const columns = [
    { head: t('partner.arrival'), class: 'due' },
    ...common(),
    { head: t('partner.technician') },
    { head: t('queue.state') },
    { head: t('partner.next') },
  ];
  const rows = orders.map((one) => ({
    cells: [
      [one.state === GOING[0] && countdown(one.arrival?.until), arrival(one)], visit(one), customerLink(one.customer_id),
      one.region, one.technician || '–',
      badge(word('work_order_state', one.state), one.state === GOING[1] ? 'good' : 'going'), visitButtons(one, id),
    ],
  }));
  return table({ caption: t('partner.visits'), columns, rows, empty: t('partner.no_visits') });
}

function ended(orders) {
  const columns = [
    ...common(),
    { head: t('queue.state') },
    { head: t('partner.outcome') },
    { head: t('partner.completed_at'), class: 'time' },
  ];
  const rows = orders.map((one) => ({
    cells: [
      visit(one), customerLink(one.customer_id), one.region, badge(word('work_order_state', one.state), 'over'),
      one.outcome || '–', when(one.completed_at) || '–',
    ],
  }));
  return table({ caption: t('partner.ended'), columns, rows, empty: t('partner.no_ended') });
}

function agreements(list) {
  const columns = [
    { head: t('partner.number') },
    { head: t('partner.regions') },
    { head: t('partner.products') },
    { head: t('partner.skills') },
    { head: t('partner.valid') },
  ];
  const rows = list.map(({ number, agreement: one }) => ({
    cells: [
      number,
      ...['regions', 'products', 'skills'].map((name) => one[name].join(t('comma'))),
      one.valid_until ? span(one.valid_from, one.valid_until) : around('partner.since', when(one.valid_from)),
    ],
  }));
  return table({ caption: t('partner.agreements'), columns, rows, empty: t('partner.no_agreements') });
}

function points(list) {
  if (!list.length) return h('p', { class: 'empty' }, t('partner.no_points'));
  return h('ul', null,
    list.map((one) => h('li', null, one.name, ' ', h('span', { class: 'quiet' }, one.place?.region))),
  );
}

function render({ partner, agreements: signed, service_points: open, orders }, { params: { id } }) {
  const offered = orders.filter((one) => one.state === 'WORK_ORDER_STATE_OFFERED');
  const going = orders.filter((one) => GOING.includes(one.state) && one.partner_id === id);
  const over = orders.filter((one) => !offered.includes(one) && !going.includes(one));
  return h('div', null,
    h('header', { class: 'head' },
      h('p', { class: 'over' }, t('partners.name'), admission(partner.state)),
      h('h1', null, partner.name),
    ),
    section(t('partner.offers'), offers(offered, id)),
    section(t('partner.visits'), visits(going, id)),
    section(t('partner.ended'), ended(over)),
    section(t('partner.agreements'), agreements(signed)), section(t('partner.points'), points(open)));
}

export default {
  path: /^\/partners\/(?<id>[^/]+)$/,
  title: (data) => data.partner.name,
  load,
  render,
  concerns: (change) => change.type.startsWith('kept.partner_network.'),
};
