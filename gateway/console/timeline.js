// One timeline: a sentence for each event, what was said beneath it, newest first.

import { get } from './api.js';
import { h } from './dom.js';
import { when, who } from './format.js';
import { t } from './i18n.js';
import { group, sentence } from './sentences.js';

const SAID = ['title', 'text', 'body', 'need', 'urgency'];

// `path` is where further pages come from.
export function timeline({ items, next_page_token: next }, path) {
  if (!items.length) return h('p', { class: 'empty' }, t('timeline.empty'));
  const list = h('ol', { class: 'timeline' }, items.map(entry));
  const more = h('button', { type: 'button', hidden: !next, onclick: () => extend(list, more, path) },
    t('action.more'),
  );
  more.dataset.next = next;
  return [list, more];
}

async function extend(list, more, path) {
  more.disabled = true;
  const page = await get(path, { page_token: more.dataset.next });
  list.append(...page.items.map(entry));
  more.dataset.next = page.next_page_token;
  more.hidden = !page.next_page_token;
  more.disabled = false;
}

function entry(item) {
  const kind = group(item.type);
  const said = SAID.map((name) => item.texts?.[name]).filter(Boolean);
  return h('li', { class: `of-${kind}`, 'data-row': true },
    h('div', { class: 'line' }, h('span', { class: 'kind' }, t(`group.${kind}`)), h('span', { class: 'what' },
      sentence(item.type, item.facts),
    ),
      h('span', { class: 'meta' }, who(item.actor), ' · ', when(item.occurred_at))),
    said.length > 0 && h('blockquote', null, said.map((text) => words(text, item.event_id))));
}

// What was said begins with what matters; the rest of a longer text is one step away.
function words(text, key) {
  const [first, ...rest] = text.split('\n').filter((line) => line.trim());
  if (!rest.length) return h('p', null, first);
  return [
    h('p', null, first),
    h('details', { 'data-key': key }, h('summary', null, t('timeline.whole')), rest.map((line) => h('p', null, line))),
  ];
}
