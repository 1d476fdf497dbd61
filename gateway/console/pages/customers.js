// Customers, to be opened.

import { get } from '../api.js';
import { h, link, table } from '../dom.js';
import { t, word } from '../i18n.js';
import { narrow } from '../router.js';

const load = ({ query }) => get('/customers', { page_size: 50, page_token: query.from });

function render(data) {
  const columns = [
    { head: t('customers.name'), class: 'wide' },
    { head: t('customers.stage') },
    { head: t('customers.region') },
    { head: t('customers.language') },
  ];
  const rows = data.customers.map((one) => ({
    cells: [
      link(`/customers/${one.customer_id}`, one.erased ? t('erased.name') : one.name),
      word('customer_stage', one.stage), one.region || '–',
      one.language || '–',
    ],
  }));
  return h('div', null, h('h1', null, t('customers.title')), table({
    caption: t('customers.title'),
    columns, rows,
    empty: t('customers.empty'),
  }),
    data.next_page_token && h('button', { type: 'button', onclick: () => narrow({ from: data.next_page_token }) },
      t('action.more'),
    ));
}

export default {
  path: /^\/customers$/,
  title: () => t('customers.title'),
  load, render,
  concerns: (change) => change.type.startsWith('kept.customer.'),
};
