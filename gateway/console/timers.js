// The cell's time of day, and everything on the page that counts down to a moment.

import { h } from './dom.js';
import { t } from './i18n.js';
import { duration, whenText } from './format.js';

const SOON_MS = 2 * 3600 * 1000;
let ahead = 0; // of this machine's clock, in ms
let standing = null; // a cell in history mode has its own time, which stands

export const now = () => standing ?? Date.now() + ahead;

export function setClock(cell) {
  const theirs = Date.parse(cell.now);
  standing = cell.mode === 'CELL_MODE_HISTORY' ? theirs : null;
  const difference = theirs - Date.now();
  ahead = Math.abs(difference) > 5000 ? difference : 0;
}

// "in 2 h 5 min" or "overdue by 4 min", with a sign, so that not only the colour tells.
export function countdown(at) {
  if (!at) return h('span', { class: 'quiet' }, t('deadline.none'));
  const node = h('span', { class: 'countdown', 'data-until': at });
  fill(node);
  return node;
}

function fill(node) {
  const at = Date.parse(node.dataset.until);
  const left = at - now();
  const state = left < 0 ? 'overdue' : left < SOON_MS ? 'soon' : 'later';
  const sign = { overdue: '!', soon: '◔', later: '' }[state];
  const text = t(
    left < 0 ? 'deadline.overdue' : 'deadline.in',
    { time: duration(Math.abs(left) / 1000, Math.abs(left) < 3600_000) },
  );
  if (node.dataset.state !== state) {
    node.dataset.state = state;
    node.replaceChildren(
      h('span', { class: 'sign', 'aria-hidden': 'true' }, sign),
      h('span', { class: 'left' }),
      h('time', { datetime: node.dataset.until }, whenText(at)));
  }
  node.querySelector('.left').textContent = text;
}

export function startTimers() {
  setInterval(() => document.querySelectorAll('[data-until]').forEach(fill), 1000);
}
