/**
 * The plugin, as JupyterLab and Notebook load it: a container of webpack's module federation,
 * written by hand because it shares nothing (docs/decisions/0013-session-extension.md).
 */
import { documents, save, saveLeaving } from './documents';
import { watch } from './ending';
import type { App } from './jupyter';
import { listen, tell } from './messages';
import { settings } from './settings';

declare const EXTENSION: string;

const OPENING_MS = 10_000;

function activate(app: App): void {
  const { origins, saveBeforeUnload, preventBeforeUnloadPropagation, ...rest } = settings();
  listen(app, origins);
  app.shell.currentChanged.connect(() => documents(app)); // whose saves go in turn from then on
  if (saveBeforeUnload) {
    // Whoever leaves a frame clicks outside of it first, mostly: then there is time to save.
    window.addEventListener('blur', () => save(app));
    document.addEventListener('visibilitychange', () => document.hidden && save(app));
    window.addEventListener('beforeunload', () => save(app), { capture: true });
    window.addEventListener('pagehide', () => saveLeaving(app));
  }
  if (preventBeforeUnloadPropagation) {
    // JupyterLab asks in a later listener.
    window.addEventListener('beforeunload', event => event.stopImmediatePropagation(), {
      capture: true
    });
  }
  watch(app, { origins, saveBeforeUnload, preventBeforeUnloadPropagation, ...rest });
  void opened(app).then(() => tell(origins, { type: 'ready' }));
}

/** When the document that the address names, if any, and those of before are open. */
async function opened(app: App): Promise<void> {
  const named = /\/(?:tree|notebooks|edit|doc)\/./.test(location.pathname);
  const deadline = performance.now() + OPENING_MS;
  await app.restored;
  while (named && !documents(app).size && performance.now() < deadline)
    await new Promise(resolve => setTimeout(resolve, 100));
  await Promise.all([...documents(app)].map(({ ready }) => ready));
}

const plugin = { id: `${EXTENSION}:plugin`, autoStart: true, activate };
const containers = ((window as any)._JUPYTERLAB ??= {});
containers[EXTENSION] = {
  init: () => undefined,
  get: async () => () => ({ __esModule: true, default: plugin })
};
