// Talks to the gateway: reads, changes, and what changed meanwhile.

const OWN_WRITES_FOR_MS = 30_000;
let written = { position: 0, at: 0 };

// A refusal as the gateway tells it (RFC 9457).
export class Problem extends Error {
  constructor(document, retryAfter) {
    super(document.detail);
    this.slug = String(document.type ?? '').replace('urn:kept:', '');
    this.status = document.status;
    this.errors = document.errors ?? [];
    this.retryAfter = retryAfter;
  }
}

// Reads see what was written from here: they wait for its position.
export async function get(path, parameters = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const one of [value].flat()) if (one !== '' && one !== undefined && one !== null) query.append(name, one);
  }
  if (Date.now() - written.at < OWN_WRITES_FOR_MS && path !== '/cell') query.set('after_position', written.position);
  const address = `/api${path}?${query}`;
  try {
    return await answer(await fetch(address));
  } catch (problem) {
    if (problem.slug !== 'view-behind') throw problem;
    await new Promise((resolve) => setTimeout(resolve, 1000 * problem.retryAfter));
    return answer(await fetch(address));
  }
}

// The same key sent again changes nothing twice.
export async function post(path, body, key) {
  const headers = { 'content-type': 'application/json', 'idempotency-key': key };
  const given = await answer(await fetch(`/api${path}`, { method: 'POST', headers, body: JSON.stringify(body) }));
  written = { position: Math.max(written.position, Number(given.receipt.position)), at: Date.now() };
  return given.receipt;
}

async function answer(response) {
  if (response.ok) return response.json();
  const retryAfter = Number(response.headers.get('retry-after') ?? 1);
  const told = response.headers.get('content-type')?.includes('json');
  throw new Problem(told ? await response.json() : { type: 'urn:kept:internal', status: response.status }, retryAfter);
}

export const newKey = () => crypto.randomUUID();

export function chooseTenant(tenant) {
  document.cookie = `kept-tenant=${tenant}; path=/; max-age=31536000; samesite=strict`;
}

// Calls back for each change; a hidden page listens no longer, and catches up when it is seen again.
export function listen(onChange, onState) {
  let source = null;
  let last = '';
  const close = () => {
    source?.close();
    source = null;
  };
  const open = () => {
    if (source || document.hidden) return;
    source = new EventSource(`/api/changes${last && `?after=${last}`}`);
    source.onopen = () => onState('live');
    source.onerror = () => onState('lost');
    source.onmessage = (event) => {
      last = event.lastEventId || last;
      if (event.data) onChange(JSON.parse(event.data));
    };
  };
  document.addEventListener('visibilitychange', () => (document.hidden ? close() : open()));
  open();
}
