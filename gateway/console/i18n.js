// Words in the language of the page.

import en from './words/en.js';
import zh from './words/zh-CN.js';

const WORDS = { en, 'zh-CN': zh };
export const LANGUAGES = { en: 'English', 'zh-CN': '中文' };

export const language = () => (document.documentElement.lang === 'zh-CN' ? 'zh-CN' : 'en');

export function setLanguage(chosen) {
  document.documentElement.lang = chosen;
  document.cookie = `kept-language=${chosen}; path=/; max-age=31536000; samesite=strict`;
}

export const has = (key) => key in WORDS[language()];

// The words for a key, `{name}` filled in; a missing key shows itself, and a test finds it.
export function t(key, values = {}) {
  const words = WORDS[language()][key] ?? key;
  return words.replace(/\{(\w+)\}/g, (_, name) => String(values[name] ?? ''));
}

// 'CASE_STATE_IN_PROGRESS' or 'in_progress' of 'case_state'; nothing for what is unspecified.
export function word(kind, value) {
  const name = String(value ?? '').replace(new RegExp(`^${kind.toUpperCase()}_`), '').toLowerCase();
  return !name || name === 'unspecified' ? '' : t(`${kind}.${name}`);
}
