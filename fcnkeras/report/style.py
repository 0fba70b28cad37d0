"""The style and the script of a report's page, as text that is placed into the file."""

STYLE = """
:root {
  color-scheme: light dark;
  --paper: #ffffff; --raised: #f4f5f7; --ink: #1b1f24; --muted: #5a636e; --line: #d5d9df;
  --accent: #1f5fbf; --note: #fff4d6; --note-line: #b98900;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171b; --raised: #1e2329; --ink: #e8eaed; --muted: #a3acb8; --line: #3a424c;
    --accent: #86b6ff; --note: #33290d; --note-line: #d1a531;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 82rem;
  background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial,
    "DejaVu Sans", sans-serif;
}
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; margin: 0 0 .75rem; }
h2 { font-size: 1.35rem; margin: 2.75rem 0 .75rem; }
h3 { font-size: 1.05rem; margin: 1.75rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; overflow-wrap: anywhere; }
.lead { font-size: 1.1rem; }
.muted, figcaption { color: var(--muted); font-size: .9rem; }
.note {
  background: var(--note); border-left: 4px solid var(--note-line);
  padding: .5rem .75rem; border-radius: 0 .3rem .3rem 0;
}
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -999rem; }
.skip:focus { position: static; }
nav { border: 1px solid var(--line); border-radius: .5rem; padding: .6rem 1rem; margin: 1.25rem 0; }
nav ul { list-style: none; margin: 0; padding: 0; display: flex; flex-wrap: wrap; gap: 0 1.4rem; }
nav li ul { padding-left: 1rem; }
nav > ul > li:has(ul) { flex-basis: 100%; }
nav a { display: inline-block; padding: .2rem 0; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; max-width: 100%; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .55rem; text-align: left; border-bottom: 1px solid var(--line); }
th { background: var(--raised); vertical-align: bottom; font-weight: 600; }
td { vertical-align: top; max-width: 34rem; overflow-wrap: break-word; }
.number { text-align: right; }
td.number { white-space: nowrap; }
tr.strong td { font-weight: 650; }
figure { margin: 1rem 0; min-width: 0; }
figcaption { margin-top: .4rem; max-width: 46rem; overflow-wrap: anywhere; }
svg { display: block; height: auto; }
svg * { stroke-linejoin: round; stroke-linecap: butt; }
img { display: block; max-width: 100%; height: auto; border-radius: .25rem; }
details { border: 1px solid var(--line); border-radius: .5rem; margin: .75rem 0; }
summary { cursor: pointer; padding: .7rem 1rem; font-weight: 600; overflow-wrap: anywhere; }
details[open] > summary { border-bottom: 1px solid var(--line); }
.inside { padding: .25rem 1rem 1rem; }
.plots { display: flex; flex-wrap: wrap; gap: 0 2.5rem; align-items: flex-start; }
.plots > * { min-width: 0; max-width: 100%; }
.plots figcaption, .plots .note { width: 0; min-width: 100%; }
.cards { display: grid; gap: 1.25rem; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(15rem, 100%), 1fr)); }
.cards figure { margin: 0; }
.empty { display: grid; place-items: center; min-height: 8rem; background: var(--raised);
  color: var(--muted); border-radius: .25rem; }
.pairs, .pair { display: grid; gap: 1.25rem; align-items: start; }
.pairs { grid-template-columns: repeat(auto-fill, minmax(min(29rem, 100%), 1fr)); }
.pair { grid-template-columns: repeat(auto-fit, minmax(min(13rem, 100%), 1fr)); }
.pair figure { margin: 0; }
.layers { position: relative; aspect-ratio: var(--ratio);
  width: min(100%, calc(20rem * var(--ratio))); }
.layers img { position: absolute; inset: 0; width: 100%; height: 100%; }
.layers .map { opacity: var(--map); }
.slider label { display: flex; gap: .6rem; align-items: center; font-size: .85rem;
  max-width: 24rem; color: var(--muted); }
.slider input { flex: 1; min-width: 0; min-height: 2.2rem; accent-color: var(--accent); }
.bar { display: flex; gap: .5rem; align-items: center; max-width: 24rem; margin-top: .2rem;
  font-variant-numeric: tabular-nums; }
.colours { flex: 1; height: .7rem; border-radius: .2rem; print-color-adjust: exact; }
@media print {
  :root { --paper: #fff; --raised: #f4f5f7; --ink: #000; --muted: #444; --line: #bbb; }
  body { max-width: none; padding: 0; font-size: 10pt; }
  nav, .slider label, .skip { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding: .2rem .3rem; }
  .plots { flex-wrap: nowrap; gap: 1rem; }
  .plots > * { flex: 1; }
  .plots svg { width: 100% !important; min-width: 0 !important; }
  .cards { grid-template-columns: repeat(4, 1fr); }
  .pairs { grid-template-columns: 1fr 1fr; }
  .pair { grid-template-columns: 1fr 1fr; }
  figure, tr { break-inside: avoid; }
  h2, h3, summary { break-after: avoid; }
}
"""

# Three small duties: move the map's opacity with its slider, open the part that a link points to,
# and open every part for the printer.
SCRIPT = """
"use strict";
const fade = (input) =>
  input.closest(".slider").style.setProperty("--map", String(input.value / 100));
document.addEventListener("input", (event) => {
  if (event.target.matches(".slider input")) fade(event.target);
});
document.querySelectorAll(".slider input").forEach(fade);
const reveal = (hash) => {
  const part = hash.length > 1 && document.getElementById(decodeURIComponent(hash.slice(1)));
  if (part && part.matches("details")) part.open = true;
};
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#"]');
  if (link) reveal(link.hash);
});
addEventListener("hashchange", () => reveal(location.hash));
reveal(location.hash);
let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((part) => { part.open = true; });
});
addEventListener("afterprint", () => closed.forEach((part) => { part.open = false; }));
"""
