/**
 * A session ends when nobody uses it, or when it is old: people hear of it some minutes before.
 * Of its end for maintenance they hear at once.
 */
import { type App, ask } from './jupyter';
import { tell } from './messages';
import type { Settings } from './settings';

/** How long before the end. */
const NOTICE_MS = 5 * 60_000;
const AGAIN_MS = 15_000;
const MAINTENANCE_MS = 20_000;
/** setTimeout takes no longer times. */
const LATEST_MS = 2 ** 31 - 1;

export interface End {
  /** Milliseconds since 1970, by the server's clock. */
  readonly at: number;
  /** Activity moves the end of one that is idle. */
  readonly cause: 'idle' | 'age' | 'maintenance';
}

/** When the hub will end a session of this `status` (of /api/status); undefined: never. */
export function end(
  { idleSeconds, maxAgeSeconds }: Pick<Settings, 'idleSeconds' | 'maxAgeSeconds'>,
  status: { started: string; last_activity: string }
): End | undefined {
  const ends: End[] = [];
  const add = (from: string, seconds: number | null, cause: End['cause']) =>
    seconds !== null && ends.push({ at: Date.parse(from) + seconds * 1000, cause });
  add(status.started, maxAgeSeconds, 'age');
  add(status.last_activity, idleSeconds, 'idle');
  return first(ends);
}

const first = (ends: readonly End[]): End | undefined => [...ends].sort((a, b) => a.at - b.at)[0];

const WORDS = {
  en: {
    idle: 'Nobody has used this session for a while. It ends, and its files are deleted, at',
    age: 'The time of this session is up soon. It ends, and its files are deleted, at',
    maintenance: 'The service is going into maintenance. This session ends, and its files are deleted, at',
    keep: 'Keep the session'
  },
  de: {
    idle: 'Diese Sitzung wird schon länger nicht benutzt. Sie endet, und ihre Dateien werden gelöscht, um',
    age: 'Die Zeit dieser Sitzung läuft bald ab. Sie endet, und ihre Dateien werden gelöscht, um',
    maintenance: 'Wartungsarbeiten stehen an. Diese Sitzung endet, und ihre Dateien werden gelöscht, um',
    keep: 'Sitzung behalten'
  }
};

/** Watch for the end, and show a banner before it. */
export function watch(app: App, settings: Settings): void {
  if (settings.idleSeconds === null && settings.maxAgeSeconds === null) return;
  let etag = '';
  let status: { started: string; last_activity: string } | undefined;
  let timer = 0;
  let own: End | undefined;
  let maintenance: End | undefined;
  let shown: { banner: HTMLElement; end: End } | undefined;

  function show(): void {
    const next = first([own, maintenance].filter(end => end !== undefined));
    if (next?.at === shown?.end.at) return;
    shown?.banner.remove();
    shown = next && { banner: banner(next, keep), end: next };
    if (!shown) return;
    document.body.prepend(shown.banner);
    tell(settings.origins, { type: 'ending', at: new Date(shown.end.at).toISOString() });
  }

  async function keep(): Promise<void> {
    await ask(app, 'api/me'); // any such call is activity
    await look();
  }

  async function look(): Promise<void> {
    clearTimeout(timer);
    let wait = AGAIN_MS;
    try {
      // For the server, /api/status is no activity; for the proxy everything is that is answered
      // with less than 300: so ask only whether something has changed.
      const answer = await ask(app, 'api/status', { headers: { 'If-None-Match': etag } });
      if (answer.ok) {
        status = await answer.json();
        etag = answer.headers.get('ETag') ?? '';
      }
      const next = status && end(settings, status);
      const now = Date.parse(answer.headers.get('Date') ?? '') || Date.now();
      const early = next ? next.at - NOTICE_MS - now : LATEST_MS;
      own = early <= 0 ? next : undefined;
      show();
      wait = Math.min(Math.max(early, AGAIN_MS), LATEST_MS);
    } catch {
      // The network or the session is away; JupyterLab says so.
    }
    timer = window.setTimeout(look, wait);
  }
  void look();

  async function lookAtHub(): Promise<void> {
    try {
      const answer = await fetch(`${settings.hub}maintenance`, { cache: 'no-store' });
      const { ends } = await answer.json();
      maintenance = ends ? { at: Date.parse(ends), cause: 'maintenance' } : undefined;
      show();
    } catch {
      // The hub restarts, or is one that knows of none.
    }
    setTimeout(lookAtHub, MAINTENANCE_MS);
  }
  if (settings.hub) void lookAtHub();
}

function banner({ at, cause }: End, keep: () => Promise<void>): HTMLElement {
  const lang = navigator.language.startsWith('de') ? 'de' : 'en';
  const words = WORDS[lang];
  const time = new Date(at).toLocaleTimeString(lang, { hour: '2-digit', minute: '2-digit' });
  const element = document.createElement('div');
  element.id = 'session-ending';
  element.lang = lang;
  element.setAttribute('role', 'alert');
  element.style.cssText =
    'position:fixed;inset:auto 0 0;z-index:10000;padding:8px 16px;text-align:center;' +
    'font:14px/1.5 sans-serif;color:#000;background:#ffe08a;border-top:2px solid #7a5b00';
  element.append(`${words[cause]} ${time}. `);
  if (cause === 'idle') {
    const button = document.createElement('button');
    button.textContent = words.keep;
    button.style.cssText =
      'font:inherit;color:#000;background:#fff;border:1px solid #000;border-radius:3px;' +
      'min-height:24px;padding:2px 10px;margin-left:8px;cursor:pointer';
    button.addEventListener('click', () => void keep());
    element.append(button);
  }
  return element;
}
