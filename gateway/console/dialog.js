// The one dialog: something to read, or a form that changes something.

import { newKey, post } from './api.js';
import { h, say } from './dom.js';
import { t } from './i18n.js';
import { refresh } from './router.js';
import { troubleText } from './trouble.js';

const dialog = () => document.getElementById('dialog');

export function openDialog(title, ...children) {
  const close = h(
    'button',
    { type: 'button', class: 'close', 'aria-label': t('action.close_dialog'), onclick: closeDialog },
    '×',
  );
  dialog().replaceChildren(h('header', null, h('h2', { id: 'dialog-title' }, title), close), ...children);
  if (!dialog().open) dialog().showModal();
}

export function closeDialog() {
  dialog().close();
}

// A form that posts what `body` makes of its fields. Sent twice, it changes once: the key is made with the form.
export function openForm({ title, intro, fields, submit, path, body, done }) {
  const key = newKey();
  const trouble = h('p', { class: 'trouble', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'main' }, submit);
  const form = h('form', { novalidate: false },
    intro && h('p', null, intro), fields, trouble,
    h('p', { class: 'buttons' }, button, h('button', { type: 'button', onclick: closeDialog }, t('action.cancel'))));
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    button.disabled = true;
    trouble.hidden = true;
    try {
      await post(path, body(new FormData(form)), key);
      closeDialog();
      await refresh();
      say(done ?? t('state.done'));
    } catch (problem) {
      const wrong = (problem.errors ?? []).map((one) => `${one.field}: ${one.detail}`);
      trouble.textContent = [troubleText(problem), ...wrong].join(' ');
      trouble.hidden = false;
      button.disabled = false;
    }
  });
  openDialog(title, form);
  (form.querySelector('textarea') ?? form.querySelector('input, select, button')).focus();
}

export function field(label, control, hint) {
  return h('label', { class: 'field' }, h('span', null, label), control, hint && h('small', null, hint));
}

export const input = (name, attributes = {}) => h('input', { name, autocomplete: 'off', ...attributes });

export const choice = (name, options, attributes = {}) =>
  h('select', { name, ...attributes },
    options.map(([value, text, selected]) => h('option', { value, selected }, text)),
  );
