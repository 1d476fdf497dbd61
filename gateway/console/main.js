// Starts the console: the bar, the clock, the pages, the shortcuts, and the stream of changes.

import { chooseTenant, get, listen } from './api.js';
import { h } from './dom.js';
import { dayText, zone } from './format.js';
import { LANGUAGES, language, setLanguage, t } from './i18n.js';
import { showHelp, startKeys } from './keys.js';
import { forgetNames } from './names.js';
import { changed, refresh, startRouter } from './router.js';
import { setClock, startTimers } from './timers.js';
import { PAGES } from './pages/all.js';

const NAVIGATION = [
  ['home', '/'],
  ['queue', '/queue', '/cases'],
  ['customers', '/customers'],
  ['problems', '/problems'],
  ['partners', '/partners'],
  ['notices', '/notices'],
];
let choices = { tenants: [], tenant: '' };
let live = 'waiting';
let cell = null;

function bar() {
  document.getElementById('skip').textContent = t('app.skip');
  const items = NAVIGATION.map(([name, href, under]) => h('li', null,
    h('a', { href, 'data-under': under }, t(`nav.${name}`)),
  ));
  document.getElementById('bar').replaceChildren(
    h('a', { class: 'brand', href: '/' },
      h('img', { src: '/static/icon.svg', alt: '', width: 24, height: 24 }),
      h('span', null, 'Kept'),
      h('small', null, t('app.promise')),
    ),
    h('nav', { 'aria-label': t('app.nav') }, h('ul', null, items)),
    h('div', { class: 'choices' }, tenants(), languages(),
      h(
        'button',
        {
          type: 'button',
          class: 'quiet',
          id: 'help',
          'aria-label': t('app.keys'),
          title: t('app.keys'),
          onclick: showHelp,
        },
        '?',
      )),
    h('p', { class: 'live', id: 'live' }), h('p', { class: 'zone' }, t('app.zone', { zone: zone() })));
  showLive();
}

function tenants() {
  if (choices.tenants.length < 2) return choices.tenant && h('span', { class: 'tenant' }, choices.tenant);
  const options = choices.tenants.map((name) => h('option', { value: name, selected: name === choices.tenant }, name));
  const choose = (event) => {
    chooseTenant(event.target.value);
    location.assign('/'); // nothing of the other company stays on the page
  };
  return h('select', { 'aria-label': t('app.tenant'), onchange: choose }, options);
}

function languages() {
  const other = Object.keys(LANGUAGES).find((one) => one !== language());
  const change = () => {
    setLanguage(other);
    forgetNames();
    bar();
    document.getElementById('language').focus();
    refresh();
  };
  return h('button', { type: 'button', class: 'quiet', id: 'language', lang: other, onclick: change },
    LANGUAGES[other],
  );
}

function showLive() {
  const history = cell?.mode === 'CELL_MODE_HISTORY';
  const node = document.getElementById('live');
  node.dataset.state = live;
  node.replaceChildren(
    h('span', { class: 'dot', 'aria-hidden': 'true' }),
    history && live === 'live' ? t('live.history', { time: dayText(cell.now) }) : t(`live.${live}`),
  );
}

async function readClock() {
  cell = await get('/cell');
  setClock(cell);
}

async function start() {
  bar();
  try {
    [choices] = await Promise.all([get('/console'), readClock()]);
    bar();
  } catch (problem) {
    console.info(problem.message); // the page that opens next says so, and what to do
  }
  startRouter(PAGES);
  startTimers();
  startKeys();
  listen(async (change) => {
    const moved = change.type === 'kept.cell.v1.TimeAdvanced' || (cell?.mode === 'CELL_MODE_HISTORY' && !change.type);
    if (moved) await readClock().then(showLive);
    changed(change);
  }, (state) => {
    live = state;
    showLive();
  });
}

start();
