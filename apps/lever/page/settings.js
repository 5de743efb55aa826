// SPDX-License-Identifier: MIT
// What is kept in the browser, the settings dialog, and the export of a talk.

const $ = id => document.getElementById(id);
const texts = ['key', 'system'], numbers = ['temperature', 'top_p', 'seed', 'max_tokens'];

/** Storage may be forbidden; then things last as long as the page. */
export function load(store, name, otherwise) {
    try { return JSON.parse(store().getItem(`lever.${name}`)) ?? otherwise; } catch { return otherwise; }
}
export function keep(store, name, value) {
    try { store().setItem(`lever.${name}`, JSON.stringify(value)); } catch { /* see above */ }
}
export const local = () => localStorage, session = () => sessionStorage;

const unset = { key: '', system: '', temperature: null, top_p: null, seed: null, max_tokens: null };
export const settings = { ...unset, ...load(local, 'settings', {}) };

function fillForm(from) {
    for (const name of [...texts, ...numbers]) $(`set-${name}`).value = from[name] ?? '';
}

/** why: also say that a key is wanted, and begin there. */
export function openSettings(why) {
    fillForm(settings);
    $('key-why').hidden = !why;
    $('settings').showModal();
    $(why ? 'set-key' : 'set-system').focus();
}

export function initSettings(onSave) {
    $('settings-form').addEventListener('submit', e => {
        e.preventDefault();
        for (const name of texts) settings[name] = $(`set-${name}`).value;
        for (const name of numbers) {
            const said = $(`set-${name}`).value;
            settings[name] = said === '' ? null : Number(said);
        }
        keep(local, 'settings', settings);
        $('settings').close();
        onSave();
    });
    $('set-reset').addEventListener('click', () => fillForm({ key: settings.key }));
    $('open-settings').addEventListener('click', () => openSettings(false));
    for (const b of document.querySelectorAll('[data-close]')) {
        b.addEventListener('click', () => b.closest('dialog').close());
    }
}

/** Body of a request for what follows these messages. */
export function requestFor(messages, model) {
    const body = { model, messages: [], stream: true };
    Object.assign(body, { stream_options: { include_usage: true }, lever: { cycles: true } });
    if (settings.system) body.messages.push({ role: 'system', content: settings.system });
    for (const { role, content, reasoning } of messages) { // undefined is left out
        body.messages.push({ role, content, reasoning_content: reasoning });
    }
    for (const name of numbers) if (settings[name] !== null) body[name] = settings[name];
    return body;
}

/** As `lever chat --load` reads it. */
export function talkAsJson(messages, model) {
    const saved = {};
    for (const name of ['temperature', 'top_p', 'seed']) {
        if (settings[name] !== null) saved[name] = settings[name];
    }
    const all = settings.system ? [{ role: 'system', content: settings.system }, ...messages] : messages;
    const bare = all.map(({ role, content }) => ({ role, content }));
    return JSON.stringify({ lever_talk: 1, model, settings: saved, messages: bare }, null, 1) + '\n';
}

export function talkAsMarkdown(messages, model) {
    const names = { user: 'You', assistant: model || 'Model' };
    const parts = settings.system ? [`**System:** ${settings.system}`] : [];
    for (const m of messages) parts.push(`## ${names[m.role]}\n\n${m.content.trim()}`);
    return parts.join('\n\n') + '\n';
}

export function download(name, type, text) {
    const link = document.createElement('a');
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
