// One page at a time, by the address; loading, failing and refreshing are the same for all.

import { h, say } from './dom.js';
import { t } from './i18n.js';
import { troubleText } from './trouble.js';

const REFRESH_AFTER_MS = 400;
let pages = [];
let current = null; // { page, context, data }
let refreshing = null;

// A page has: path (RegExp), title(data), load(context), render(data, context), and may have concerns(change, context)
// and keys(data, context).
export function startRouter(all) {
  pages = all;
  document.addEventListener('click', onClick);
  window.addEventListener('popstate', () => open());
  document.getElementById('main').addEventListener('focusout', () => current?.stale && soon());
  open();
}

export function go(address) {
  history.pushState(null, '', address);
  open();
}

// The same page with another query, without a new step back.
export function narrow(query) {
  history.replaceState(
    null, '',
    `${location.pathname}?${new URLSearchParams(Object.entries(query).filter(([, value]) => value))}`,
  );
  open({ quietly: true });
}

export const currentKeys = () => (current?.data && current.page.keys?.(current.data, current.context)) || {};

export function changed(change) {
  if (current && (!change.type || current.page.concerns?.(change, current.context, current.data))) soon();
}

export function refresh() {
  return open({ quietly: true });
}

function soon() {
  clearTimeout(refreshing);
  refreshing = setTimeout(() => {
    const typing = document.activeElement?.closest('#main')?.querySelector('input:focus, select:focus, textarea:focus');
    if (current) current.stale = Boolean(typing);
    if (!typing) refresh();
  }, REFRESH_AFTER_MS);
}

async function open({ quietly = false } = {}) {
  const main = document.getElementById('main');
  const page = pages.find((one) => one.path.test(location.pathname));
  const context = {
    params: page?.path.exec(location.pathname)?.groups ?? {},
    query: Object.fromEntries(new URLSearchParams(location.search)),
  };
  const mine = (current = { page, context, data: quietly ? current?.data : null });
  markNavigation();
  if (!page) return fail(main, { slug: 'no-such-address' }, false);
  if (!quietly) main.replaceChildren(h('p', { class: 'loading' }, t('state.loading')));
  main.setAttribute('aria-busy', 'true');
  try {
    const data = await page.load(context);
    if (mine !== current) return null; // somebody went on meanwhile
    mine.data = data;
    show(main, page, quietly);
  } catch (problem) {
    if (mine !== current) return null;
    fail(main, problem, true);
  }
  return null;
}

function show(main, page, quietly) {
  const focused = quietly && document.activeElement?.id;
  const rows = [...main.querySelectorAll('[data-row]')];
  const row = quietly ? rows.findIndex((one) => one.contains(document.activeElement)) : -1;
  const unfolded = new Map(keyed(main).map((one) => [one.dataset.key, one.open]));
  main.replaceChildren(page.render(current.data, current.context));
  if (quietly) keyed(main).forEach((one) => (one.open = unfolded.get(one.dataset.key) ?? one.open));
  main.removeAttribute('aria-busy');
  document.title = `${page.title(current.data)} · Kept`;
  if (focused) document.getElementById(focused)?.focus();
  else if (row >= 0) main.querySelectorAll('[data-row]')[row]?.querySelector('a, button')?.focus();
  else if (!quietly) {
    main.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    say(page.title(current.data));
  }
}

// What a reader has opened or closed stays so when the page is refreshed.
const keyed = (main) => [...main.querySelectorAll('details[data-key]')];

function fail(main, problem, mayHelp) {
  if (!problem.slug) console.error(problem); // a mistake of ours, not a refusal
  const retry = h('button', { type: 'button', class: 'main', onclick: () => open() }, t('action.retry'));
  main.replaceChildren(h('div', { class: 'trouble', role: 'alert' },
    h('h1', null, t('state.failed')), h('p', null, troubleText(problem)),
    h('p', { class: 'buttons' }, mayHelp ? retry : null, h('a', { href: '/' }, t('action.home')))));
  main.removeAttribute('aria-busy');
  document.title = `${t('state.failed')} · Kept`;
}

function markNavigation() {
  for (const one of document.querySelectorAll('nav a')) {
    const under = one.pathname !== '/' && location.pathname.startsWith(one.dataset.under ?? one.pathname);
    const here = one.pathname === location.pathname || under;
    if (here) one.setAttribute('aria-current', 'page');
    else one.removeAttribute('aria-current');
  }
}

function onClick(event) {
  const target = event.target.closest('a[href^="/"]');
  const plain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && !event.altKey;
  if (!target || !plain || target.target || target.pathname.startsWith('/schema')) return;
  event.preventDefault();
  go(target.getAttribute('href'));
}
