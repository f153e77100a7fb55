/**
 * In the pages of JupyterLab and Notebook, before their own scripts: what they need in a frame
 * where the browser lets them keep nothing.
 */
import { pageConfig, SETTINGS } from './settings';

/** As localStorage and sessionStorage, until the page is left. */
class Memory implements Storage {
  readonly #items = new Map<string, string>();
  [name: string]: any;
  get length(): number {
    return this.#items.size;
  }
  key(index: number): string | null {
    return [...this.#items.keys()][index] ?? null;
  }
  getItem(key: string): string | null {
    return this.#items.get(String(key)) ?? null;
  }
  setItem(key: string, value: string): void {
    this.#items.set(String(key), String(value));
  }
  removeItem(key: string): void {
    this.#items.delete(String(key));
  }
  clear(): void {
    this.#items.clear();
  }
}

for (const name of ['localStorage', 'sessionStorage'] as const) {
  try {
    void window[name].length;
  } catch {
    // Else JupyterLab looks for its window's name, fails, and reloads for ever.
    Object.defineProperty(window, name, { value: new Memory() });
  }
}

const { data, write } = pageConfig();
// A websocket cannot send the token as a header, and has no cookie here.
if (!navigator.cookieEnabled) data.appendToken = 'true';
// JupyterLab removes these from its address.
const address = new URLSearchParams(location.search);
data[SETTINGS] = {
  ...data[SETTINGS],
  saveBeforeUnload: address.get('saveBeforeUnload') === 'true',
  preventBeforeUnloadPropagation: address.get('preventBeforeUnloadPropagation') === 'true'
};
write();
