// The question page: what happens in the frame is the session's; what is kept is the backend's.
'use strict';

const SAVE_SECONDS = 20; // an open notebook answers within 15, whatever happens
const find = id => document.getElementById(id);
const frame = find('frame');
let session; // {attempt, links}, while there is one
let hubOrigin;

function say(text, kind = 'quiet') {
  find('status').textContent = text;
  find('status').dataset.kind = kind;
}

async function backend(call, body = {}) {
  const answer = await fetch(`api/${call}`, { method: 'POST', body: JSON.stringify(body) });
  const told = await answer.json();
  if (answer.ok) return told;
  throw Object.assign(new Error(told.message), { status: answer.status, wait: told.retry_after });
}

/** Buttons follow from what there is. */
function show() {
  find('start').hidden = !!session;
  for (const id of ['save', 'check', 'end']) find(id).hidden = !session;
  find('check').disabled = find('result').hidden;
  find('expire').disabled = !session;
  find('place').hidden = !session;
}

function load() {
  frame.src = session.links[document.querySelector('[name=view]:checked').value];
}

/** One thing at a time, and every error in words. */
async function act(text, what) {
  const buttons = [...document.querySelectorAll('button, [name=view]')];
  for (const button of buttons) button.disabled = true;
  say(text, 'busy');
  try {
    await what();
  } catch (error) {
    explain(error);
  } finally {
    for (const button of buttons) button.disabled = false;
    show();
  }
}

function explain({ status, wait, message }) {
  if (status === 429) sendAway(Math.ceil(wait));
  else if (status === 410) say('Your session has ended. What you had saved is below; open the notebook again to go on.', 'bad');
  else say(`That did not work: ${message}`, 'bad');
  if (status === 410) session = undefined;
}

function sendAway(seconds) {
  const text = `All places are taken just now. Please try again in ${seconds} s.`;
  say(text, 'bad');
  setTimeout(() => {
    if (find('status').textContent === text) say('There may be a place now: please try again.');
  }, seconds * 1000);
}

/** Have the session save all documents. Resolves to its answer, or to nothing where none comes. */
function saveAll() {
  const id = crypto.randomUUID();
  return new Promise(resolve => {
    const clock = setTimeout(done, SAVE_SECONDS * 1000);
    function heard({ data, origin, source }) {
      if (origin !== hubOrigin || source !== frame.contentWindow) return;
      if (data?.type === 'save-all' && data.id === id && data.status) done(data);
    }
    function done(answer) {
      clearTimeout(clock);
      removeEventListener('message', heard);
      resolve(answer);
    }
    addEventListener('message', heard);
    frame.contentWindow.postMessage({ type: 'save-all', id }, hubOrigin);
  });
}

function showResult({ cells }) {
  const block = (text, kind) => {
    const pre = document.createElement('pre');
    pre.className = kind;
    pre.tabIndex = 0;
    pre.textContent = text;
    return pre;
  };
  find('cells').replaceChildren(...cells.flatMap(({ source, output }) =>
    [block(source, 'source'), ...(output ? [block(output, 'output')] : [])]));
  const now = new Date();
  find('when').dateTime = now.toISOString();
  find('when').textContent = `at ${now.toLocaleTimeString()}`;
  find('result').hidden = false;
}

find('start').onclick = () => act('Your notebook is being prepared …', async () => {
  session = await backend('start');
  load();
  show();
  say('Your notebook opens.');
});

find('save').onclick = () => act('Saving …', async () => {
  const answer = await saveAll();
  showResult(await backend('fetch', { attempt: session.attempt }));
  if (!answer) say('The notebook did not answer. Below is what it had saved before.', 'bad');
  else if (answer.status === 'ok') say('Saved.', 'good');
  else say(`Not saved: ${answer.failed.map(({ path, message }) => `${path}: ${message}`).join('; ')}`, 'bad');
});

find('check').onclick = () => act('Your saved notebook is run in a fresh session …', async () => {
  const { right, told } = await backend('check', { attempt: session.attempt });
  say(right ? `${told} is right.` : `It came to ${told}. That is not it yet.`, right ? 'good' : 'bad');
});

find('end').onclick = () => act('Ending …', async () => {
  await backend('end', { attempt: session.attempt });
  session = undefined;
  frame.src = 'about:blank';
  say('Finished. The session is gone; what you saved is below.');
});

find('expire').onclick = () => act('Ending the session behind the page …', async () => {
  await backend('end', { attempt: session.attempt });
  load();
  say('The session has expired: the frame says so. Saving tells the page.');
});

find('full').onclick = () => act('Asking for a place …', () => backend('start', { pretend_full: true }));

for (const view of document.querySelectorAll('[name=view]')) view.onchange = () => session && load();

addEventListener('message', ({ data, origin, source }) => {
  if (origin !== hubOrigin || source !== frame.contentWindow) return;
  if (data?.type === 'ready') say('Your notebook is open. Save from time to time: what is not saved is lost with the session.', 'good');
  if (data?.type === 'ending') say(`The session ends at ${new Date(data.at).toLocaleTimeString()}: save your work.`, 'bad');
});

fetch('api/hub').then(answer => answer.json()).then(({ url }) => {
  hubOrigin = new URL(url).origin;
  find('hub').href = `${url}/hub/login`;
});
show();
