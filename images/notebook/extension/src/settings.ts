/** What jupyter_server_config.py tells this session's pages, and page.ts of their address. */
export interface Settings {
  /** Origins that may embed the session, and send it messages. */
  readonly origins: readonly string[];
  /** Without activity for so long, it ends; null: not by that. Seconds. */
  readonly idleSeconds: number | null;
  /** Older than this, it ends; null: not by that. Seconds. */
  readonly maxAgeSeconds: number | null;
  /** The hub's address, as in `/hub/`; empty: unknown. */
  readonly hub: string;
  readonly saveBeforeUnload: boolean;
  readonly preventBeforeUnloadPropagation: boolean;
}

export const SETTINGS = 'integrableJupyterHub';
const CONFIG = 'jupyter-config-data';

/** The page's configuration, and how to change it before JupyterLab reads it. */
export function pageConfig(): { data: Record<string, any>; write: () => void } {
  const element = document.getElementById(CONFIG);
  const data = JSON.parse(element?.textContent || '{}');
  return { data, write: () => element && (element.textContent = JSON.stringify(data)) };
}

export function settings(): Settings {
  return {
    origins: [],
    idleSeconds: null,
    maxAgeSeconds: null,
    hub: '',
    saveBeforeUnload: false,
    preventBeforeUnloadPropagation: false,
    ...pageConfig().data[SETTINGS]
  };
}
