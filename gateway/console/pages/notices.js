// The mailbox: what customers were told or will be, newest first.

import { get } from '../api.js';
import { h } from '../dom.js';
import { t } from '../i18n.js';
import { learnCustomers } from '../names.js';
import { notice } from '../notice.js';
import { narrow } from '../router.js';

async function load({ query }) {
  const page = await get('/notices', { page_size: 30, page_token: query.from });
  await learnCustomers(page.notices.map((one) => one.customer_id));
  return page;
}

function render(data) {
  const list = data.notices.map((one, at) => notice(one, { open: at === 0 }));
  return h('div', { class: 'narrow' }, h('h1', null, t('notices.title')), h('p', { class: 'quiet' },
    t('notices.intro'),
  ),
    list.length ? list : h('p', { class: 'empty' }, t('notices.empty')),
    data.next_page_token && h('button', { type: 'button', onclick: () => narrow({ from: data.next_page_token }) },
      t('action.more'),
    ));
}

export default {
  path: /^\/notices$/,
  title: () => t('notices.title'),
  load, render,
  concerns: (change) => change.type.startsWith('kept.notification.'),
};
