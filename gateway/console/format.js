// Times in the viewer's zone, lengths of time, sums, and who did it.

import { h } from './dom.js';
import { language, t } from './i18n.js';
import { now } from './timers.js';

export const zone = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

const format = (options, at) => new Intl.DateTimeFormat(language(), options).format(new Date(at));
const CLOCK = { hour: '2-digit', minute: '2-digit', hourCycle: 'h23' };
const DAY = { month: 'short', day: 'numeric' };

export function whenText(at) {
  const then = new Date(at);
  const today = new Date(now());
  if (then.toDateString() === today.toDateString()) return format(CLOCK, at);
  const year = then.getFullYear() === today.getFullYear() ? {} : { year: 'numeric' };
  return format({ ...year, ...DAY, ...CLOCK }, at);
}

export const dayText = (at) => format({ year: 'numeric', ...DAY, ...CLOCK }, at);

// With the day, the year and the zone in full for whoever points at it.
export function when(at) {
  if (!at) return '';
  const full = format({ dateStyle: 'full', timeStyle: 'long' }, at);
  return h('time', { datetime: at, title: full }, whenText(at));
}

export function span(from, until) {
  if (!from || !until) return '';
  const sameDay = new Date(from).toDateString() === new Date(until).toDateString();
  return h('span', { class: 'span' },
    when(from), ' – ',
    sameDay ? h('time', { datetime: until }, format(CLOCK, until)) : when(until),
  );
}

// The two largest units: 2 h 5 min; under an hour 4 min 12 s when `exact`.
export function duration(seconds, exact = false) {
  let left = Math.max(0, Math.floor(Number(seconds)));
  const sizes = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const parts = [];
  for (const [unit, size] of sizes) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count || parts.length) parts.push([count, unit]);
  }
  const shown = parts.length ? parts.slice(0, 2) : [[0, 's']];
  if (!exact && shown[0][1] === 'min') shown.length = 1;
  return shown.filter(([count], at) => count || !at).map(([count, unit]) => t(`unit.${unit}`, { n: count })).join(' ');
}

export function money(sum) {
  if (!sum?.currency) return '';
  const style = new Intl.NumberFormat(language(), { style: 'currency', currency: sum.currency });
  return style.format(Number(sum.minor_units) / 10 ** style.resolvedOptions().maximumFractionDigits);
}

// user:ana is ana; a policy decided by itself.
export function who(actor) {
  const [kind, name = ''] = String(actor ?? '').split(':');
  if (kind === 'policy') return t('who.policy', { name: name.split('@')[0] });
  return kind === 'service' ? t('who.service', { name }) : name;
}

export const short = (id) => String(id ?? '').slice(0, 8);
