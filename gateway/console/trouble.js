// What a refusal means to the person at the desk, and what to do next.

import { h } from './dom.js';
import { has, t } from './i18n.js';

export function troubleText(problem) {
  const key = `problem.${problem.slug}`;
  if (has(key)) return t(key);
  return problem.slug ? t('problem.other', { detail: problem.message }) : t('problem.unreachable');
}

// One part of a page that could not be had, while the rest is there.
export const missing = (problem) => h('p', { class: 'empty' }, troubleText(problem));

// Each of these reads; what fails becomes its problem, in its place.
export async function all(reads) {
  const names = Object.keys(reads);
  const settled = await Promise.allSettled(Object.values(reads));
  return Object.fromEntries(names.map((name, at) => {
    const { status, value, reason } = settled[at];
    if (status === 'rejected' && !reason.slug) throw reason;
    return [name, status === 'fulfilled' ? value : { problem: reason }];
  }));
}
