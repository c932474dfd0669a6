"""How the page looks. Pictures keep a white ground, so that they stay legible on a dark page."""

CSS = """
:root { color-scheme: light dark; --ink: #1c1f23; --soft: #5b6570; --line: #dde1e6; --page: #fff; --plate: #f5f7f9;
  --accent: #2b5d92; --off: #b3400f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e8ea; --soft: #a2abb5; --line: #3a4148; --page: #16191c;
  --plate: #20252a; --accent: #8fbcec; --off: #ff9a66; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans",
  sans-serif; }
main { max-width: 1040px; margin: 0 auto; padding: 24px 20px 64px; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.25rem; margin: 0 0 .5rem; color: var(--accent); }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p { margin: .4rem 0 .7rem; max-width: 46rem; overflow-wrap: anywhere; }
section { border-top: 1px solid var(--line); padding-top: 1.2rem; margin-top: 1.8rem; }
.source { color: var(--soft); font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .9rem; }
.tags span { display: inline-block; background: var(--plate); border: 1px solid var(--line); border-radius: 1rem;
  padding: .1rem .7rem; margin: 0 .4rem .3rem 0; font-size: .88rem; max-width: 100%; }
.verdict { font-size: 1.08rem; }
.verdict:first-of-type { font-weight: 600; }
.note { color: var(--soft); font-size: .88rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
.wide img { display: block; width: 100%; min-width: 560px; max-width: 960px; height: auto; background: #fff; border-radius: 6px; }
table { border-collapse: collapse; font-size: .88rem; }
th, td { text-align: left; padding: .3rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 600; }
td { max-width: 22rem; min-width: 3rem; }
td:first-child, th:first-child { padding-left: 0; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
tr.strong td { font-weight: 600; }
@media (max-width: 560px) { th, td { padding: .3rem .4rem; } td.n { white-space: normal; } }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(230px, 1fr)); gap: 12px; }
.tiles { grid-template-columns: repeat(auto-fit, minmax(min(100%, 290px), 1fr)); }
.small { grid-template-columns: repeat(auto-fill, minmax(140px, 1fr)); }
.tiles img { max-width: 560px; margin: 0 auto; }
.strips { grid-template-columns: 1fr; gap: 6px; }
.strips figure { display: flex; flex-direction: row-reverse; justify-content: flex-end; align-items: center; gap: .6rem; }
.strips img { width: auto; max-width: 100%; min-width: 0; flex: 0 1 auto; }
.strips figcaption { flex: 0 0 12.5rem; flex-direction: column; gap: 0; }
.strips figcaption span { white-space: normal; }
@media (max-width: 720px) { .strips figure { flex-direction: column-reverse; align-items: stretch; gap: .3rem; }
  .strips figcaption { flex: none; flex-direction: row; flex-wrap: wrap; gap: 0 .6rem; } }
.beside { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr)); gap: 0 28px; }
.beside > div { min-width: 0; }
figure { margin: 0; background: #fff; border: 1px solid var(--line); border-radius: 6px; padding: 6px; color: #1c1f23; }
figure img { width: 100%; height: auto; display: block; }
figcaption { font-size: .85rem; display: flex; justify-content: space-between; gap: .6rem; padding: 0 4px; }
figcaption b { overflow-wrap: anywhere; min-width: 0; }
figcaption span { white-space: nowrap; }
figcaption .off { color: #b3400f; font-weight: 700; }
pre { background: var(--plate); border: 1px solid var(--line); border-radius: 6px; padding: .8rem; overflow-x: auto;
  font: .85rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
summary { cursor: pointer; margin: .8rem 0; }
@media print { main { max-width: none; padding: 0; } section, figure, tr { break-inside: avoid-page; }
  .wide { overflow: visible; } .wide img { min-width: 0; } pre { white-space: pre-wrap; } }
"""
