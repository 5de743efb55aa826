// SPDX-License-Identifier: MIT
// Talks to the server: one streamed answer, the status, and what went wrong in plain words.

/** A failure with a text for people. kind: 'key' | 'busy' | 'lost' | 'refused'. */
export class Trouble extends Error {
    constructor(text, kind) {
        super(text);
        this.kind = kind;
    }
}

const lost = 'The connection was lost. ';

function headers(key) {
    const h = { 'Content-Type': 'application/json' };
    if (key) h.Authorization = `Bearer ${key}`;
    return h;
}

async function refusal(response) {
    let said = '';
    try { said = (await response.json()).error.message; } catch { /* not JSON: the status has to do */ }
    if (typeof said !== 'string') said = '';
    const wait = Number(response.headers.get('Retry-After'));
    const when = wait > 0 ? `Try again in ${wait}\u00a0s.` : 'Try again in a moment.';
    const detail = said ? ` (${said})` : '';
    switch (response.status) {
        case 401:
        case 403:
            return new Trouble('The server wants an API key, or another one: see Settings.', 'key');
        case 429:
            return new Trouble(`The server is busy: places and queue are full. ${when}`, 'busy');
        case 503:
            return new Trouble(`The server can not answer now${detail}. ${when}`, 'busy');
        case 413:
            return new Trouble(`The talk is too long for the server${detail}. Begin a new one.`, 'refused');
    }
    if (response.status >= 500) return new Trouble(`Something failed in the server${detail}.`, 'refused');
    return new Trouble(`The server refused the request: ${said || `status ${response.status}`}.`, 'refused');
}

/** Server-sent events of a response, as {name, data}. Line ends may be LF, CR LF or CR. */
export async function* serverEvents(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = '', name = '', data = [];
    try {
        for (;;) {
            const { value, done } = await reader.read();
            if (done) return;
            const lines = (rest + value).split(/\r\n|\n|\r(?!$)/);
            rest = lines.pop();
            for (const line of lines) {
                if (line === '') {
                    if (data.length) yield { name: name || 'message', data: data.join('\n') };
                    name = '';
                    data = [];
                } else if (line.startsWith('data:')) data.push(line.slice(line[5] === ' ' ? 6 : 5));
                else if (line.startsWith('event:')) name = line.slice(6).trim();
            }
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}

function parse(text) {
    try {
        return JSON.parse(text);
    } catch {
        throw new Trouble('The server sent something unreadable.', 'refused');
    }
}

/** on: {text(string), reasoning(string), cycle(object)}. Returns {finish, usage, lever}; throws Trouble or,
 * after the signal, AbortError. */
export async function answer(request, key, signal, on) {
    let response;
    try {
        const order = { method: 'POST', headers: headers(key), body: JSON.stringify(request), signal };
        response = await fetch('/v1/chat/completions', order);
    } catch (e) {
        if (e.name === 'AbortError') throw e;
        throw new Trouble(`${lost}Is the server still running?`, 'lost');
    }
    if (!response.ok) throw await refusal(response);
    const end = { finish: null, usage: null, lever: null, done: false };
    try {
        for await (const event of serverEvents(response.body)) {
            if (event.data === '[DONE]') end.done = true;
            if (end.done) continue; // read to the very end, or the server would think that we left
            const value = parse(event.data);
            if (value.error) throw new Trouble(`The answer ended early: ${value.error.message}`, 'refused');
            if (event.name === 'lever.cycle') on.cycle(value);
            if (value.usage) end.usage = value.usage;
            if (value.lever) end.lever = value.lever;
            const choice = value.choices?.[0];
            if (choice?.delta?.reasoning_content) on.reasoning(choice.delta.reasoning_content);
            if (choice?.delta?.content) on.text(choice.delta.content);
            if (choice?.finish_reason) end.finish = choice.finish_reason;
        }
    } catch (e) {
        if (end.done) return end;
        if (e instanceof Trouble || signal.aborted) throw e;
        throw new Trouble(`${lost}What came of the answer is kept.`, 'lost');
    }
    if (end.done || end.finish) return end;
    throw new Trouble(`${lost}What came of the answer is kept.`, 'lost');
}

/** What the server says of itself; throws Trouble. */
export async function status(key) {
    let response;
    try {
        response = await fetch('/lever/status', {
            headers: key ? { Authorization: `Bearer ${key}` } : {},
            cache: 'no-store',
            signal: AbortSignal.timeout(5000)
        });
    } catch {
        throw new Trouble('no connection to the server', 'lost');
    }
    if (!response.ok) throw await refusal(response);
    return parse(await response.text());
}
