// One notice with its words and the card: what, when, where, who, how to change it, and the next word.

import { badge, facts, h, link } from './dom.js';
import { when } from './format.js';
import { has, t, word } from './i18n.js';
import { customerLink } from './names.js';

const LOOKS = {
  NOTICE_STATE_INITIAL: 'wait',
  NOTICE_STATE_COMPLETED: 'good',
  NOTICE_STATE_FAILED: 'bad',
  NOTICE_STATE_CANCELLED: 'over',
};
const CARD = ['what', 'when', 'where', 'who', 'how_to_change', 'next_touch'];

// `about` adds for whom and about what, where the page itself does not say so.
export function notice(one, { open = false, about = true } = {}) {
  const at = one.state === 'NOTICE_STATE_INITIAL' ? one.planned_at : one.ended_at || one.planned_at;
  return h('details', { class: 'notice', open, 'data-row': about, 'data-key': one.notice_id },
    h('summary', { id: `notice-${one.notice_id}` },
      h('span', { class: 'line' },
        h('strong', null, one.title || word('occasion', one.occasion)),
        badge(word('notice_state', one.state), LOOKS[one.state]),
      ),
      h('span', { class: 'quiet' },
        word('occasion', one.occasion),
        one.channel !== 'CHANNEL_UNSPECIFIED' && [' · ', word('channel', one.channel)],
        ' · ', when(at),
      )),
    about && h('p', { class: 'quiet' }, t('notices.to'), ' ', customerLink(one.customer_id), aboutWhat(one.about)),
    words(one), card(one.card),
    h('p', { class: 'quiet' }, t('notices.rules', { name: one.rule_set, version: one.rule_set_version }),
      waits(one) && [' · ', around('notices.not_before', when(one.not_before))],
      one.reason && [' · ', t('notices.reason'), ': ', why(one.reason)]));
}

const waits = (one) => one.not_before && one.state === 'NOTICE_STATE_INITIAL';

function words({ title, body, erased, state }) {
  if (erased) return h('p', { class: 'empty' }, t('erased.text'));
  if (!body) return state === 'NOTICE_STATE_INITIAL' && h('p', { class: 'empty' }, t('notices.no_text'));
  return h('blockquote', null,
    body.split('\n').filter((line) => line.trim() && line !== title).map((line) => h('p', null, line)),
  );
}

function card(fields) {
  const pairs = CARD.map((name) => [t(`card.${name}`), fields?.[name]]).filter(([, value]) => value);
  return pairs.length > 0 && h('section', { class: 'card', 'aria-label': t('card.title') }, facts(pairs));
}

function aboutWhat(about) {
  if (about?.case_id) return [' · ', link(`/cases/${about.case_id}`, t('queue.case'))];
  return about?.problem_id ? [' · ', link(`/problems/${about.problem_id}`, t('problems.name'))] : null;
}

// The words around `{time}`, with a node in its place.
export function around(key, node) {
  const [before, after] = t(key, { time: '\u0000' }).split('\u0000');
  return [before, node, after];
}

// A reason of ours in words; what a mail server or the like had to say, as it is.
const why = (reason) => (has(`cancel_reason.${reason}`) ? word('cancel_reason', reason) : reason);
