/** The open documents, and how they are saved: when asked to, and when there is no time left. */
import { type App, ask, type Context } from './jupyter';

export interface Saved {
  readonly status: 'ok' | 'error';
  readonly saved: string[];
  readonly failed: { path: string; message: string }[];
}

/** A save that fails shows a dialog and waits for an answer; whoever asked for it does not. */
const PATIENCE_MS = 15_000;

export function documents(app: App): Set<Context> {
  const widgets = ['main', 'left', 'right', 'down'].flatMap(area => [...app.shell.widgets(area)]);
  return new Set(widgets.flatMap(({ context }) => (context?.model ? [inTurn(context)] : [])));
}

const seen = new WeakSet<Context>();

/**
 * A document's saves one after the other, whoever asks; those who wait share the next. JupyterLab
 * takes a save whose end it has not heard of for somebody else's change ("File Changed") if another
 * begins meanwhile: a person who clicks the page's button leaves the frame, and each of them saves.
 */
function inTurn(context: Context): Context {
  if (seen.has(context)) return context;
  seen.add(context);
  const save = context.save.bind(context);
  let last = Promise.resolve();
  let next: Promise<void> | undefined;
  context.save = () =>
    (next ??= last =
      last
        .catch(() => undefined)
        .then(() => {
          next = undefined;
          return save();
        }));
  return context;
}

function unsaved(app: App): Context[] {
  return [...documents(app)].filter(({ model }) => model.dirty && !model.readOnly);
}

/** Save what has changed; `saved` are all documents that are as on the server afterwards. */
export async function saveAll(app: App): Promise<Saved> {
  const open = [...documents(app)].filter(({ model }) => !model.readOnly);
  const failed: Saved['failed'] = [];
  await Promise.all(
    open.map(async context => {
      try {
        if (context.model.dirty) await Promise.race([context.save(), impatience()]);
      } catch (error) {
        failed.push({ path: context.path, message: String((error as Error).message ?? error) });
      }
    })
  );
  const bad = new Set(failed.map(({ path }) => path));
  const saved = open.map(({ path }) => path).filter(path => !bad.has(path));
  return { status: failed.length ? 'error' : 'ok', saved, failed };
}

function impatience(): Promise<never> {
  return new Promise((_, reject) =>
    setTimeout(() => reject(new Error('not saved after 15 s')), PATIENCE_MS)
  );
}

/** Save soon whatever has changed; what fails is JupyterLab's to say. */
export function save(app: App): void {
  for (const context of unsaved(app)) context.save().catch(() => undefined);
}

/**
 * Send what has changed while the page goes away: requests that outlive it, which browsers allow
 * for 64 KiB in all. (Context.save() asks the server first, and nobody would hear the answer.)
 */
export function saveLeaving(app: App): void {
  for (const { path, contentsModel, model } of unsaved(app)) {
    const { type, format } = contentsModel ?? { type: 'file', format: 'text' };
    const content = format === 'json' ? model.toJSON() : model.toString();
    const init = {
      method: 'PUT',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ type, format, content })
    };
    const url = `api/contents/${path.split('/').map(encodeURIComponent).join('/')}`;
    // Without keepalive, a larger one gets through as often as not.
    ask(app, url, { ...init, keepalive: true }).catch(() =>
      ask(app, url, init).catch(() => undefined)
    );
  }
}
