// SPDX-License-Identifier: MIT
// Runs before the first paint, so that a dark page does not begin white. app.js stores what its switch says.
let theme = null;
try { theme = JSON.parse(localStorage.getItem(
    'lever.theme')); } catch { /* storage may be forbidden or spoilt */ }
const dark = matchMedia('(prefers-color-scheme: dark)').matches;
document.documentElement.dataset.theme = theme === 'light' || theme === 'dark' ? theme : dark ? 'dark' :
    'light';
