// Why a promise is due when it is: rule, hours, how the deadline moved, and the time that counts.

import { get } from './api.js';
import { facts, h, table } from './dom.js';
import { openDialog } from './dialog.js';
import { duration, when, whenText } from './format.js';
import { has, language, t, word } from './i18n.js';
import { troubleText } from './trouble.js';

export async function explain(clockId) {
  openDialog(t('why.title'), h('p', { class: 'loading' }, t('state.loading')));
  try {
    const why = await get(`/clocks/${clockId}`);
    openDialog(
      t('why.title'),
      h('div', { class: 'why' },
        summary(why), part('rule', rule(why.rule)), part('hours', hours(why.calendar)),
        part('moves', moves(why.steps)), part('stretches', stretches(why.stretches)),
      ),
    );
  } catch (problem) {
    openDialog(t('why.title'), h('p', { class: 'trouble', role: 'alert' }, troubleText(problem)));
  }
}

const part = (name, content) => h('section', null, h('h3', null, t(`why.${name}`)), content);

function summary({ clock }) {
  const { policy, policy_version: version, calendar, calendar_version } = clock.pins;
  return h('p', { class: 'sum' },
    t(
      'why.sum',
      {
        target: word('target_kind', clock.target),
        due: whenText(clock.due_at),
        budget: duration(clock.budget_s),
        policy, version, calendar, calendar_version,
      },
    ),
  );
}

function rule(one) {
  if (!one) return '–';
  const pauses = one.pause_on.map((waiting) => word('waiting_for', waiting)).join(t('comma'));
  return facts([
    [t('why.kind'), word('case_kind', one.kind) || t('why.every')],
    [t('case.priority'), word('priority', one.priority) || t('why.every')],
    [t('why.entitlement'), one.entitlement || t('why.every')],
    [t('why.stage'), word('product_stage', one.product_stage) || t('why.every')],
    [t('why.budget'), duration(one.budget_s)],
    [t('why.warns'), one.warn_percents.map((percent) => `${percent} %`).join(t('comma'))],
    [t('why.pauses'), pauses || t('why.never')],
    [t('why.reopen'), word('on_reopen', one.on_reopen)],
    [t('why.boundary'), word('boundary', one.boundary)],
  ]);
}

function hours(calendar) {
  if (!calendar) return '–';
  const rows = [1, 2, 3, 4, 5, 6, 7].map((day) => {
    const spans = calendar.weekdays.filter((one) => one.weekday === day).flatMap((one) => one.spans);
    return { cells: [weekday(day), spans.map(clockTimes).join(t('comma')) || t('why.closed')] };
  });
  const open = (spans) => spans.map(clockTimes).join(t('comma')) || t('why.closed');
  const exceptions = calendar.exceptions.map((one) => `${one.date}: ${open(one.spans)}`);
  return [h('p', { class: 'quiet' }, calendar.time_zone), table({
    caption: t('why.hours'),
    columns: [{ head: t('why.weekday') }, { head: t('why.open') }],
    rows,
    empty: '',
  }),
    exceptions.length > 0 && facts([[
      t('why.exceptions'),
      h('ul', null, exceptions.map((line) => h('li', null, line))),
    ]])];
}

// 5 January 1970 was a Monday.
function weekday(day) {
  const style = new Intl.DateTimeFormat(language(), { weekday: 'long', timeZone: 'UTC' });
  return style.format(new Date(Date.UTC(1970, 0, 4 + day)));
}

const two = (number) => String(Math.floor(number)).padStart(2, '0');
const clockTime = (seconds) => `${two(seconds / 3600)}:${two((seconds % 3600) / 60)}`;
const clockTimes = (one) => `${clockTime(one.from_s)}–${clockTime(one.until_s)}`;

function moves(steps) {
  return h('ol', { class: 'steps' }, steps.map((step) => h('li', null,
    h('div', null, when(step.occurred_at), ' · ', stepText(step)),
    h('div', { class: 'quiet' }, t('why.used', { time: duration(step.used_s) }), step.due_at && [
      t('comma'),
      t('why.then_due', { time: whenText(step.due_at) }),
    ],
      step.cause_type && [t('comma'), t('why.because', { cause: causeText(step.cause_type) })]))));
}

// A step knows its type and times only; the words are those that need no more.
const STEPS = {
  ClockArmed: 'step.armed',
  ClockReplanned: 'step.replanned',
  ThresholdReached: 'step.threshold',
  VerdictReached: 'step.verdict',
  VerdictCorrected: 'step.corrected',
};
const name = (type) => type.split('.').pop();
const stepText = (step) => t(STEPS[name(step.type)] ?? 'step.other');
const causeText = (type) => t(has(`cause.${name(type)}`) ? `cause.${name(type)}` : 'step.other');

function stretches(list) {
  const length = (one) => (Date.parse(one.until) - Date.parse(one.from)) / 1000;
  const total = list.reduce((sum, one) => sum + length(one), 0);
  const rows = list.map((one) => ({ cells: [when(one.from), when(one.until), duration(length(one))] }));
  const columns = [{ head: t('why.from') }, { head: t('why.until') }, { head: t('why.length'), class: 'number' }];
  return [
    table({ caption: t('why.stretches'), columns, rows, empty: t('why.no_stretches') }),
    rows.length > 0 && h('p', { class: 'total' }, t('why.total'), ': ', duration(total)),
  ];
}
