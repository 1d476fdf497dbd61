// Single-key shortcuts. They can be switched off (WCAG 2.1.4), and are silent while somebody types.

import { h } from './dom.js';
import { t } from './i18n.js';
import { openDialog } from './dialog.js';
import { currentKeys, go } from './router.js';

const PLACES = { h: '/', q: '/queue', c: '/customers', p: '/problems', r: '/partners', n: '/notices' };
const SHOWN = ['j k', 'Enter', 'a', 'n', '/', 'g h', 'g q', 'g c', 'g p', 'g r', 'g n', '?'];
const OFF = 'kept-keys-off';
const FOCUSABLE = 'a[href], button, summary';
let going = false;

export function startKeys() {
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (event.target.closest('input, select, textarea, dialog') || document.querySelector('dialog[open]')) return;
    if (event.key !== '?' && localStorage.getItem(OFF)) return;
    const act = actionFor(event.key);
    if (!act) return;
    event.preventDefault();
    act();
  });
}

function actionFor(key) {
  if (going) {
    going = false;
    return PLACES[key] && (() => go(PLACES[key]));
  }
  const own = currentKeys();
  if (own[key]) return own[key];
  return { g: () => (going = true), j: () => step(1), k: () => step(-1), '?': showHelp, '/': filter() }[key];
}

// Moves the focus itself, so Enter opens and a screen reader follows.
function step(by) {
  const rows = [...document.querySelectorAll('#main [data-row]')].filter((row) => row.querySelector(FOCUSABLE));
  const at = rows.findIndex((row) => row.contains(document.activeElement));
  const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(Math.max(at + by, 0), rows.length - 1)];
  next?.querySelector(FOCUSABLE).focus();
}

function filter() {
  const field = document.querySelector('#main [data-filter]');
  return field && (() => field.focus());
}

export const focusedCase = () => document.activeElement?.closest('[data-case]')?.dataset.case;

export function showHelp() {
  const off = h('input', {
    type: 'checkbox', id: 'keys-off', checked: !localStorage.getItem(OFF),
    onchange: (event) => (event.target.checked ? localStorage.removeItem(OFF) : localStorage.setItem(OFF, '1')),
  });
  openDialog(t('keys.title'),
    h('dl', { class: 'keys' }, SHOWN.map((keys) =>
      h('div', null,
        h('dt', null, keys.split(' ').map((key) => h('kbd', null, key))),
        h('dd', null, t(`keys.${keys}`)),
      ))),
    h('p', null, h('label', { class: 'check' }, off, t('keys.on'))));
}
