/** Messages from and to the page that embeds the session; README.md has the protocol. */
import { saveAll } from './documents';
import type { App } from './jupyter';

/** What `data` asks for: undefined if it is not for us; the id may be anything, or missing. */
export function request(data: unknown): { id?: unknown } | undefined {
  if (data === 'save-all') return {};
  if (typeof data !== 'object' || data === null) return undefined;
  const { type, id, status } = data as Record<string, unknown>;
  // With a status, it is an answer of another session.
  return type === 'save-all' && status === undefined ? { id } : undefined;
}

export function listen(app: App, origins: readonly string[]): void {
  const trusted = new Set([...origins, location.origin]);
  window.addEventListener('message', async ({ data, origin, source }) => {
    const asked = trusted.has(origin) ? request(data) : undefined;
    if (!asked) return;
    const answer = { type: 'save-all', ...asked, ...(await saveAll(app)) };
    source?.postMessage(answer, { targetOrigin: origin });
  });
}

/** Tell the embedding page, if it is one that may know. */
export function tell(origins: readonly string[], message: object): void {
  if (window.parent === window) return;
  // The browser delivers to the one that matches; which it is, a frame need not know.
  for (const origin of origins) window.parent.postMessage(message, origin);
}
