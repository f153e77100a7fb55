/**
 * What is used of JupyterLab 4 and Notebook 7, and no more: their own packages of types are some
 * hundred megabytes. tests/behaviour/test_embedding.py uses it in both.
 */
export interface Context {
  readonly path: string;
  readonly ready: Promise<void>;
  readonly contentsModel: { readonly type: string; readonly format: string } | null;
  readonly model: {
    readonly dirty: boolean;
    readonly readOnly: boolean;
    toJSON(): unknown;
    toString(): string;
  };
  /** JupyterLab itself calls it by this name, too: what is put here is what it calls. */
  save: () => Promise<void>;
}

export interface App {
  readonly restored: Promise<void>;
  readonly shell: {
    widgets(area: string): Iterable<{ readonly context?: Context }>;
    readonly currentChanged: { connect(slot: () => void): unknown };
  };
  readonly serviceManager: {
    readonly serverSettings: { readonly baseUrl: string; readonly token: string };
  };
}

/** Ask the session's server; `path` as in `api/status`. */
export function ask(app: App, path: string, init: RequestInit = {}): Promise<Response> {
  const { baseUrl, token } = app.serviceManager.serverSettings;
  const headers = new Headers(init.headers);
  const xsrf = /(?:^|; )_xsrf=([^;]*)/.exec(document.cookie)?.[1];
  if (token) headers.set('Authorization', `token ${token}`);
  if (xsrf) headers.set('X-XSRFToken', xsrf);
  return fetch(baseUrl + path, { cache: 'no-store', ...init, headers });
}
