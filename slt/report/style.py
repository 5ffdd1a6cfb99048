"""How the page of `slt report` looks and behaves: light, dark and on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5d6877; --paper: #ffffff; --line: #dfe4ea; --box: #f5f7f9;
  --llc: #1f6feb; --loss: #b3560b; --up: #1a7f5a; --down: #b4307a; --bad: #c62828; --warn: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ed; --soft: #9aa5b1; --paper: #12161b; --line: #2b333c;
  --box: #1a2027; --llc: #6cb0ff; --loss: #f0a55b; --up: #4fc79a; --down: #ee7fb8; --bad: #ff7b72; --warn: #e3b341 } }
* { box-sizing: border-box }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 1080px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.5rem; margin: 0 0 .3rem } h2 { font-size: 1.1rem; margin: 1.8rem 0 .5rem }
code, pre, td, th { font-variant-numeric: tabular-nums }
pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .82rem; background: var(--box); padding: .7rem;
  border-radius: 6px }
code { overflow-wrap: anywhere }
svg { width: 100%; height: auto; display: block }
.charts input { margin: 0 .3rem 0 0 } .charts label { margin-right: 1rem; color: var(--soft) }
.charts .linear { display: none }
#linear:checked ~ .linear { display: block } #linear:checked ~ .log { display: none }
.grid { stroke: var(--line); stroke-width: 1 } .tick { fill: var(--soft); font-size: 12px }
.end { text-anchor: end } .middle { text-anchor: middle } .label { fill: var(--ink); font-size: 14px; font-weight: 600 }
.curve { fill: none; stroke-width: 2 } .curve.llc { stroke: var(--llc) } .curve.loss { stroke: var(--loss) }
.band { fill: var(--llc); opacity: .22 }
.move.up { fill: var(--up); opacity: .14 } .move.down { fill: var(--down); opacity: .14 }
.key { display: inline-block; width: 1em; height: 1em; vertical-align: -.15em; margin-left: .5em }
.key.up { background: var(--up); opacity: .35 } .key.down { background: var(--down); opacity: .35 }
.legend { color: var(--soft); font-size: .85rem }
.point { fill: var(--llc); stroke: var(--paper); stroke-width: 1 } .point.loss { fill: var(--loss) }
.point.warning { fill: var(--paper); stroke: var(--llc); stroke-width: 2 }
.point.failed, .point.skipped { fill: var(--bad) }
.path { fill: none; stroke: var(--soft); stroke-width: 1; opacity: .6 }
.p0 { --own: #4c8dd6 } .p1 { --own: #d98032 } .p2 { --own: #4fa36b } .p3 { --own: #c95a5a } .p4 { --own: #8d78c9 }
.p5 { --own: #a3806a } .point.phase { fill: var(--own) } .key.phase { background: var(--own) }
a:hover .point, a:focus .point { stroke: var(--ink); stroke-width: 3 }
.warmup { fill: var(--soft); opacity: .15 }
.chain { fill: none; stroke-width: 1; opacity: .75 }
.c0 { stroke: #4c8dd6 } .c1 { stroke: #d98032 } .c2 { stroke: #4fa36b } .c3 { stroke: #c95a5a } .c4 { stroke: #8d78c9 }
.c5 { stroke: #a3806a } .c6 { stroke: #c87bb4 } .c7 { stroke: #8a929b }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: .85rem; width: 100% }
th, td { text-align: left; padding: .25rem .6rem; border-bottom: 1px solid var(--line); white-space: nowrap }
th { color: var(--soft); font-weight: 600 } td:first-child { white-space: normal }
button { float: right; font: inherit; font-size: .8rem; color: var(--ink); background: var(--box);
  border: 1px solid var(--line); border-radius: 6px; padding: .1rem .6rem; cursor: pointer }
details { border-bottom: 1px solid var(--line); padding: .25rem 0 } summary { cursor: pointer }
details.warning > summary::after { content: " \\25CF"; color: var(--warn) }
details.failed > summary::after, details.skipped > summary::after { content: " \\2715"; color: var(--bad) }
details:target { background: var(--box) }
@media print { :root { --ink: #000; --paper: #fff; --soft: #444; --line: #ccc; --box: #fff; --llc: #0b4fb3;
  --loss: #8a4208; --up: #1a7f5a; --down: #b4307a; --bad: #c62828; --warn: #9a6700 }
  body { max-width: none; margin: 0 } button, .charts input, .charts label { display: none }
  svg, tr { break-inside: avoid } }
"""

SCRIPT = """
function show() {
  const panel = location.hash && document.getElementById(location.hash.slice(1));
  if (panel && panel.tagName === 'DETAILS') { panel.open = true; panel.scrollIntoView({ block: 'center' }); }
}
addEventListener('hashchange', show);
document.querySelectorAll('svg a').forEach(a => a.addEventListener('click', () => setTimeout(show)));
document.querySelectorAll('button[data-copy]').forEach(button => button.addEventListener('click', () => {
  const rows = [...document.getElementById(button.dataset.copy).rows];
  const text = rows.map(row => [...row.cells].map(cell => cell.textContent).join('\\t')).join('\\n');
  navigator.clipboard.writeText(text).then(() => { button.textContent = 'copied'; });
}));
show();
"""
