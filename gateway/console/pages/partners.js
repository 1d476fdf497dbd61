// Partner companies, each with what waits for it.

import { get } from '../api.js';
import { badge, h, link, table } from '../dom.js';
import { t, word } from '../i18n.js';
import { narrow } from '../router.js';

const LOOKS = { ADMISSION_STATE_ADMITTED: 'good', ADMISSION_STATE_PROBATION: 'warn', ADMISSION_STATE_SUSPENDED: 'bad' };

export const admission = (state) => badge(word('admission_state', state) || t('admission.undecided'), LOOKS[state]);

const load = ({ query }) => get('/partners', { page_size: 50, page_token: query.from });

function render(data) {
  const columns = [
    { head: t('partners.name'), class: 'wide' },
    { head: t('partners.admission') },
    { head: t('partners.offered'), class: 'number' },
    { head: t('partners.accepted'), class: 'number' },
  ];
  const rows = data.partners.map((one) => ({
    cells: [link(`/partners/${one.partner_id}`, one.name), admission(one.state), one.offered, one.accepted],
  }));
  return h('div', null, h('h1', null, t('partners.title')), table({
    caption: t('partners.title'),
    columns, rows,
    empty: t('partners.empty'),
  }),
    data.next_page_token && h('button', { type: 'button', onclick: () => narrow({ from: data.next_page_token }) },
      t('action.more'),
    ));
}

export default {
  path: /^\/partners$/,
  title: () => t('partners.title'),
  load, render,
  concerns: (change) => change.type.startsWith('kept.partner_network.'),
};
