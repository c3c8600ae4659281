import { Html } from './html.js';

/** The style of the run's page: light or dark as the reader's system is, from a telephone's width on. */
export const pageStyle = new Html(`
:root {
  --page: #f6f6f3; --card: #ffffff; --ink: #1c1c1a; --muted: #5d5d58; --rule: #deded8;
  --good: #1a7f37; --fair: #9a5b00; --bad: #c0272d;
  --phase-0: #1f6fd0; --phase-1: #c2560c; --phase-2: #0b7f6b; --phase-3: #6b46c1; --phase-4: #b8327a; --phase-5: #7a6a00;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #141413; --card: #1e1e1d; --ink: #ecece8; --muted: #a6a69f; --rule: #383835;
    --good: #4cc36c; --fair: #e3a33b; --bad: #ff7b76;
    --phase-0: #5ea3f5; --phase-1: #f08a4b; --phase-2: #35b89e; --phase-3: #a78bfa; --phase-4: #ee79b0; --phase-5: #c9b53a;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; max-width: 75rem; padding: 1.5rem clamp(0.75rem, 3vw, 2rem); background: var(--page);
  color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
h1 { margin: 0 0 1rem; font-size: clamp(1.3rem, 4vw, 1.75rem); line-height: 1.25; text-wrap: balance; }
h2 { margin: 0 0 0.75rem; font-size: 1.15rem; }
h1 time { white-space: nowrap; }
p { margin: 0; overflow-wrap: anywhere; white-space: pre-line; }
code, .id { font-family: ui-monospace, monospace; font-size: 0.9em; }
small, .nothing, footer, dt, caption, thead th { color: var(--muted); }
footer { font-size: 0.85rem; }
section, .outcome {
  margin-bottom: 1rem; padding: 1rem clamp(0.75rem, 2vw, 1.25rem); border: 1px solid var(--rule);
  border-radius: 0.5rem; background: var(--card);
}
.outcome { border-left: 0.35rem solid var(--tone); }
.outcome strong { display: inline-block; color: var(--tone); }
.outcome strong::first-letter { text-transform: uppercase; }
.good { --tone: var(--good); }
.fair { --tone: var(--fair); }
.bad { --tone: var(--bad); }
dl { display: flex; flex-wrap: wrap; gap: 0.75rem 2.25rem; margin: 0 0 1.25rem; }
dt { font-size: 0.85rem; }
dd { margin: 0; font-weight: 600; }
.scroll { overflow: auto; }
.scroll:focus-visible { outline: 2px solid var(--phase-0); outline-offset: 2px; }
table { width: 100%; border-collapse: collapse; font-size: 0.925rem; }
caption { padding-bottom: 0.25rem; text-align: left; font-size: 0.85rem; }
th, td { padding: 0.35rem 0.6rem; border-bottom: 1px solid var(--rule); text-align: left; vertical-align: baseline; }
th { font-weight: 500; }
thead th { position: sticky; top: 0; background: var(--card); font-size: 0.85rem; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tfoot > tr > * { border-top: 2px solid var(--rule); border-bottom: 0; font-weight: 600; }
.figure { text-align: right; white-space: nowrap; }
.failed { color: var(--bad); font-weight: 600; }
.leaders { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); gap: 1.25rem 2rem; }
.leader caption { color: var(--ink); font-size: 1rem; font-weight: 600; }
.leader caption::first-letter { text-transform: uppercase; }
.leader th, .leader td { padding-inline: 0.4rem; }
.leader td:first-child, .leader th:first-child { width: 1.5rem; color: var(--muted); }
.leader tbody th { overflow-wrap: anywhere; }
.failures { max-height: 75vh; }
.failures .id { white-space: nowrap; }
.failures .reason, .failures tbody th { overflow-wrap: anywhere; }
figure { margin: 0; }
.legend { display: flex; flex-wrap: wrap; gap: 0.25rem 1.25rem; margin: 0 0 0.75rem; padding: 0; list-style: none; font-size: 0.9rem; }
.legend li::before {
  content: ''; display: inline-block; width: 1rem; height: 0.25rem; margin-right: 0.4rem; border-radius: 0.125rem;
  background: var(--tone); vertical-align: middle;
}
.phase-0 { --tone: var(--phase-0); }
.phase-1 { --tone: var(--phase-1); }
.phase-2 { --tone: var(--phase-2); }
.phase-3 { --tone: var(--phase-3); }
.phase-4 { --tone: var(--phase-4); }
.phase-5 { --tone: var(--phase-5); }
.rate { --tone: var(--ink); }
.plot { display: block; padding: 0 1.5rem 0 2.9rem; overflow: visible; box-sizing: border-box; }
.plot text { fill: var(--muted); font-size: 0.75rem; }
.plot .name { fill: var(--ink); font-size: 0.85rem; }
.plot .value { text-anchor: end; }
.plot .time { text-anchor: middle; }
.plot svg { overflow: visible; }
.plot .axes line { stroke: var(--rule); }
.plot .line { fill: none; stroke: var(--tone); stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; vector-effect: non-scaling-stroke; }
.plot .area { fill: var(--tone); fill-opacity: 0.14; }
@media (max-width: 40rem) {
  th, td { padding-inline: 0.4rem; }
  .types table { display: flex; }
  .types caption { display: none; }
  .types thead, .types tbody, .types tfoot { display: contents; }
  .types tr { display: flex; flex: 1; flex-direction: column; }
  .types thead tr { flex: none; }
  .types tr > * { min-height: 2.1rem; padding-inline: 0.25rem; border-top: 0; border-bottom: 1px solid var(--rule); font-size: 0.8rem; }
  .types tbody tr:last-child > :not(:last-child), .types tfoot tr > :not(:last-child) { border-bottom: 1px solid var(--rule); }
  .types tr > :last-child { border-bottom: 0; }
  .types thead th { text-align: left; }
  .types tbody th, .types tfoot th { text-align: right; }
  .failures table, .failures caption, .failures tbody { display: block; }
  .failures thead { display: none; }
  .failures tr { display: grid; grid-template-columns: auto 1fr; column-gap: 0.75rem; padding: 0.4rem 0; border-bottom: 1px solid var(--rule); }
  .failures tr > * { padding: 0; border: 0; }
  .failures .reason { color: var(--muted); }
  .failures .id { overflow-wrap: anywhere; white-space: normal; }
  .failures tbody th, .failures .reason { grid-column: 1 / -1; }
}
@media print { .scroll { max-height: none; } }
`);
