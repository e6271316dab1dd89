// Draws the panels of one dashboard with Grafana's component library, from the answers of a snapshot.
// The grid, the heatmaps, the text panels and the list of alerts are drawn here: the library has none for them.

import { createRoot } from 'react-dom/client';

// With import, esbuild takes the library's ES modules, whose default imports of CommonJS modules come out as objects.
const { createTheme, dateTime, EventBusSrv, FieldType, getDisplayProcessor } = require('@grafana/data');
const { BigValue, GlobalStyles, PanelChrome, PanelContextProvider, Table, ThemeContext, TimeSeries } = require('@grafana/ui');

const theme = createTheme({ colors: { mode: 'dark' } });
const { board, began, ended, step, alerts, width, rows } = window.snapshot;
const COLUMN = width / 24;
const ROW = 38;
const GAP = 8;

function finish(field, index, panel, name) {
  const { defaults, overrides } = panel.fieldConfig;
  const config = structuredClone(defaults);
  for (const override of overrides.filter((one) => one.matcher.options === name)) {
    for (const { id, value } of override.properties) {
      if (id.startsWith('custom.')) {
        config.custom = { ...config.custom, [id.slice('custom.'.length)]: value };
      } else if (id !== 'links') {
        config[id] = value;
      }
    }
  }
  const steps = config.thresholds?.steps.map((one) => ({ ...one, value: one.value ?? -Infinity }));
  config.thresholds = { ...config.thresholds, steps };
  const made = { ...field, config: { ...config, displayName: name }, state: { seriesIndex: index, displayName: name } };
  made.display = getDisplayProcessor({ field: made, theme, timeZone: 'utc' });
  return made;
}

function legend(target, labels) {
  if (target.legendFormat === '__auto') {
    return Object.entries(labels).map(([k, v]) => `${k}="${v}"`).join(', ') || 'value';
  }
  return target.legendFormat.replace(/\{\{(\w+)\}\}/g, (_, label) => labels[label] ?? '');
}

function times() {
  const count = Math.floor((ended - began) / step) + 1;
  return Array.from({ length: count }, (_, i) => began + i * step);
}

function aligned(points) {
  const values = new Map(points.map(([time, value]) => [Math.round((time - began) / step), value]));
  return times().map((_, i) => values.get(i) ?? null);
}

function Graph({ panel, width, height }) {
  const fields = [{ name: 'Time', type: FieldType.time, values: times().map((t) => t * 1000), config: {} }];
  panel.answers.forEach((answer, i) => {
    for (const { labels, points } of answer) {
      const name = legend(panel.targets[i], labels);
      fields.push(finish({ name, type: FieldType.number, values: aligned(points) }, fields.length - 1, panel, name));
    }
  });
  const range = { from: dateTime(began * 1000), to: dateTime(ended * 1000) };
  return (
    <TimeSeries frames={[{ fields, length: fields[0].values.length, refId: 'A' }]} structureRev={1} width={width} height={height}
      timeRange={{ ...range, raw: range }} timeZone="utc" legend={panel.options.legend} options={panel.options} />
  );
}

function Stat({ panel, width, height }) {
  const value = panel.answers[0][0]?.value ?? 0;
  const field = finish({ name: 'value', type: FieldType.number, values: [value] }, 0, panel, 'value');
  return (
    <BigValue value={field.display(value)} width={width} height={height} theme={theme} colorMode="background" graphMode="none"
      justifyMode="center" textMode="value" />
  );
}

// Merges the answers on their labels, as Grafana's transformation does, and keeps the named columns.
function merged(panel) {
  const [, , organize] = panel.transformations;
  const found = new Map();
  panel.answers.forEach((answer, i) => {
    const column = panel.answers.length > 1 ? `Value #${panel.targets[i].refId}` : 'Value';
    for (const { labels, value } of answer) {
      const key = ['namespace', 'service', 'pod', 'instance', 'api', 'verdict', 'severity'].map((one) => labels[one]).join('\n');
      found.set(key, { ...found.get(key), ...labels, [column]: value });
    }
  });
  const names = Object.entries(organize.options.renameByName);
  const sort = names.find(([, shown]) => shown === panel.options.sortBy[0].displayName)[0];
  const lines = [...found.values()].sort((a, b) => (b[sort] ?? 0) - (a[sort] ?? 0));
  return { names, lines };
}

function DataTable({ panel, width, height }) {
  const { names, lines } = merged(panel);
  const fields = names.map(([name, shown], i) => {
    const values = lines.map((line) => line[name] ?? null);
    const type = values.some((value) => typeof value === 'number') ? FieldType.number : FieldType.string;
    return finish({ name: shown, type, values, getLinks: () => [] }, i, panel, shown);
  });
  return <Table data={{ fields, length: lines.length }} width={width} height={height} cellHeight="sm" noHeader={false} />;
}

function bound(text) {
  return text === '+Inf' ? Infinity : Number(text);
}

function Heatmap({ panel, width, height }) {
  const buckets = [...panel.answers[0]].sort((a, b) => bound(a.labels.le) - bound(b.labels.le));
  const counts = buckets.map(({ points }) => aligned(points));
  const cells = counts.map((row, i) => row.map((count, t) => Math.max(0, (count ?? 0) - (i ? counts[i - 1][t] ?? 0 : 0))));
  const columns = 90;
  const binned = cells.map((row) => Array.from({ length: columns }, (_, c) =>
    row.filter((_, t) => Math.floor((t * columns) / row.length) === c).reduce((a, b) => a + b, 0)));
  const most = Math.max(1e-9, ...binned.flat());
  const left = 60, bottom = 22;
  const [w, h] = [(width - left) / columns, (height - bottom) / buckets.length];
  return (
    <svg width={width} height={height} fontSize={11} fill={theme.colors.text.secondary}>
      {binned.map((row, i) => row.map((count, c) => count > 1e-6 && (
        <rect key={`${i}/${c}`} x={left + c * w} y={height - bottom - (i + 1) * h} width={w - 1} height={h - 1}
          fill="#ff9830" fillOpacity={0.15 + 0.85 * Math.sqrt(count / most)} />
      )))}
      {buckets.map(({ labels }, i) => (
        <text key={labels.le} x={left - 6} y={height - bottom - (i + 1) * h + 10} textAnchor="end">{labels.le} s</text>
      ))}
      {[0, 0.25, 0.5, 0.75].map((part) => (
        <text key={part} x={left + part * (width - left)} y={height - 6}>
          {new Date((began + part * (ended - began)) * 1000).toISOString().slice(11, 19)}
        </text>
      ))}
    </svg>
  );
}

function inline(text) {
  return text.split(/(\*\*[^*]+\*\*|`[^`]+`|\[[^\]]+\]\([^)]+\))/).map((part, i) => {
    if (part.startsWith('**')) return <b key={i}>{part.slice(2, -2)}</b>;
    if (part.startsWith('`')) return <code key={i}>{part.slice(1, -1)}</code>;
    if (part.startsWith('[')) return <span key={i} style={{ color: theme.colors.text.link }}>{part.slice(1, part.indexOf(']'))}</span>;
    return part;
  });
}

function Text({ panel }) {
  return panel.options.content.split('\n\n').map((block, i) => {
    if (!block.startsWith('|')) return <p key={i}>{inline(block)}</p>;
    const lines = block.split('\n').filter((line) => !line.startsWith('|---'));
    return (
      <table key={i}><tbody>{lines.map((line, j) => (
        <tr key={j}>{line.split('|').slice(1, -1).map((cell, k) => <td key={k} style={{ padding: '2px 16px 2px 0' }}>{inline(cell)}</td>)}</tr>
      ))}</tbody></table>
    );
  });
}

function Alerts() {
  return alerts.map((labels, i) => (
    <div key={i} style={{ padding: '2px 8px' }}>
      <span style={{ color: theme.colors.error.text }}>● </span>{labels.alertname} {labels.namespace}/{labels.service}
    </div>
  ));
}

const KINDS = { stat: Stat, timeseries: Graph, table: DataTable, heatmap: Heatmap, text: Text, alertlist: Alerts };

function Panel({ panel }) {
  const { x, y, w, h } = panel.gridPos;
  const place = { position: 'absolute', left: x * COLUMN, top: y * ROW };
  if (panel.type === 'row') {
    return <div style={{ ...place, fontSize: 16, padding: '6px 4px' }}>⌄ {panel.title}</div>;
  }
  const Kind = KINDS[panel.type];
  return (
    <div style={place}>
      <PanelChrome title={panel.title} width={w * COLUMN - GAP} height={h * ROW - GAP} padding={panel.type === 'stat' ? 'none' : 'md'}>
        {(width, height) => <Kind panel={panel} width={width} height={height} />}
      </PanelChrome>
    </div>
  );
}

const context = { eventsScope: 'drawing', eventBus: new EventBusSrv() };

function Page() {
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles />
      <PanelContextProvider value={context}>
        <div style={{ position: 'relative', width, height: rows * ROW, overflow: 'hidden', background: theme.colors.background.canvas,
          color: theme.colors.text.primary }}>
          {board.panels.filter((panel) => panel.gridPos.y + panel.gridPos.h <= rows).map((panel) => <Panel key={panel.id} panel={panel} />)}
        </div>
      </PanelContextProvider>
    </ThemeContext.Provider>
  );
}

createRoot(document.getElementById('root')).render(<Page />);
