// Names of customers and partner companies, asked for once a page load, many at a time.

import { get } from './api.js';
import { link } from './dom.js';
import { t } from './i18n.js';
import { short } from './format.js';

const MOST = 100;
const customers = new Map();
const partners = new Map();

// Asks for those that are not known yet. A name is a help, not a condition: without the service, ids do.
export async function learnCustomers(ids) {
  const wanted = [...new Set(ids)].filter((id) => id && !customers.has(id)).slice(0, MOST);
  if (!wanted.length) return;
  try {
    const found = await get('/customers', { customer_ids: wanted, page_size: MOST });
    for (const one of found.customers) customers.set(one.customer_id, one.erased ? t('erased.name') : one.name);
  } catch (problem) {
    console.info(problem.message);
  }
}

export async function learnPartners() {
  if (partners.size) return;
  try {
    const found = await get('/partners', { page_size: MOST });
    for (const one of found.partners) partners.set(one.partner_id, one.name);
  } catch (problem) {
    console.info(problem.message);
  }
}

export const customerName = (id) => customers.get(id) ?? short(id);
export const partnerName = (id) => partners.get(id) ?? short(id);
export const customerLink = (id) => link(`/customers/${id}`, customerName(id));
export const partnerLink = (id) => link(`/partners/${id}`, partnerName(id));

export function forgetNames() {
  customers.clear();
  partners.clear();
}
