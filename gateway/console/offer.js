// Offers a visit: first who can help there and with that, then to whom and when.

import { localTime, windowFields } from './actions.js';
import { get } from './api.js';
import { field, input, openDialog, openForm } from './dialog.js';
import { badge, h } from './dom.js';
import { whenText } from './format.js';
import { t, word } from './i18n.js';
import { now } from './timers.js';
import { troubleText } from './trouble.js';

const HOUR_MS = 3600_000;
const ANSWER_WITHIN_MS = HOUR_MS / 2;

export async function offerVisit(one) {
  const product = await productOf(one);
  const trouble = h('p', { class: 'trouble', role: 'alert', hidden: true });
  const form = h('form', null,
    field(t('offer.product'), input('product', { required: true, value: product })),
    field(t('offer.skill'), input('skill', { required: true })),
    field(t('offer.region'), input('region', { required: true, value: one.region })),
    trouble, h('p', { class: 'buttons' }, h('button', { type: 'submit', class: 'main' }, t('offer.find'))));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const asked = Object.fromEntries(new FormData(form));
    try {
      choose(
        one, asked,
        await get('/help', { product: asked.product, skill: asked.skill, 'place.region': asked.region }),
      );
    } catch (problem) {
      trouble.textContent = troubleText(problem);
      trouble.hidden = false;
    }
  });
  openDialog(t('do.offer'), form);
  form.querySelector('input').focus();
}

// What the customer has, where the case names it: agreements go by product.
async function productOf(one) {
  if (!one.item_id) return '';
  try {
    const { items } = await get(`/customers/${one.customer_id}`);
    return items.find((item) => item.item_id === one.item_id)?.product ?? '';
  } catch (problem) {
    console.info(problem.message); // a help, not a condition
    return '';
  }
}

function choose(one, asked, found) {
  if (!found.helpers.length) {
    const nearest = found.nearest && t('offer.nearest', { name: found.nearest.partner_name });
    const again = h('button', { type: 'button', class: 'main', onclick: () => offerVisit(one) }, t('offer.again'));
    openDialog(
      t('do.offer'), h('p', null, t('offer.nobody'), ' ', nearest), others(found.others),
      h('p', { class: 'buttons' }, again),
    );
    return;
  }
  // Nobody answers while all of them are closed.
  const opens = Math.min(...found.helpers.map((helper) => (helper.open ? now() : Date.parse(helper.opens_at))));
  const from = new Date(Math.ceil(opens / HOUR_MS) * HOUR_MS + HOUR_MS);
  const expires = input(
    'expires',
    { type: 'datetime-local', required: true, value: localTime(opens + ANSWER_WITHIN_MS) },
  );
  openForm({
    title: t('do.offer'),
    submit: t('offer.send'),
    path: '/work-orders',
    fields: [
      h('fieldset', null, h('legend', null, t('offer.who')), partners(found.helpers)), others(found.others),
      h('fieldset', { class: 'pair' },
        h('legend', null, t('offer.window')),
        windowFields({ from, until: new Date(from.getTime() + 2 * HOUR_MS) }),
      ),
      field(t('offer.expires'), expires),
    ],
    body: (data) => ({
      ...asked,
      case_id: one.case_id,
      partner_ids: data.getAll('partner'),
      expires_at: new Date(data.get('expires')).toISOString(),
      window: { from: new Date(data.get('from')).toISOString(), until: new Date(data.get('until')).toISOString() },
    }),
  });
}

// A company is named once, with its nearest point.
function partners(helpers) {
  const first = helpers.filter((one, at) => helpers.findIndex((other) => other.partner_id === one.partner_id) === at);
  return first.map((one, at) => h('label', { class: 'check' },
    h('input', { type: 'checkbox', name: 'partner', value: one.partner_id, checked: at === 0 }),
    h('span', null, one.partner_name, ' ', one.service_point_name && h('small', null, one.service_point_name)),
    one.distance_km !== undefined && badge(t('offer.km', { n: one.distance_km.toFixed(1) })),
    badge(
      one.open ? t('offer.open') : t('offer.opens', { time: one.opens_at ? whenText(one.opens_at) : '–' }),
      one.open ? 'good' : '',
    ),
    one.state !== 'ADMISSION_STATE_ADMITTED' && badge(word('admission_state', one.state), 'warn')));
}

function others(list) {
  return list.length > 0 && h('details', null, h('summary', null, t('offer.others', { n: list.length })),
    h('ul', null, list.map((one) => h('li', null, one.partner_name, ': ', word('why_not', one.why)))));
}
