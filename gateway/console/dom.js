// Makes nodes. Text goes in as text, never as markup.

export function h(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
    else if (name === 'value') node.value = value;
    else node.setAttribute(name, value === true ? '' : value);
  }
  node.append(...children.flat(3).filter((child) => ![null, undefined, false, ''].includes(child)));
  return node;
}

export const link = (href, ...children) => h('a', { href }, ...children);

// A table that a narrow screen shows as a list: roles keep its meaning, labels repeat the headers.
export function table({ caption, columns, rows, empty }) {
  if (!rows.length) return h('p', { class: 'empty' }, empty);
  const head = h('tr', { role: 'row' },
    columns.map((one) => h('th', { scope: 'col', role: 'columnheader', class: one.class }, one.head)),
  );
  const body = rows.map((row) =>
    h('tr', { role: 'row', class: row.class, 'data-row': true, 'data-case': row.caseId },
      row.cells.map((cell, at) => h('td', { role: 'cell', 'data-label': columns[at].head, class: columns[at].class },
        h('div', null, cell),
      )),
    ));
  return h('table', { role: 'table' },
    h('caption', { class: 'unseen' }, caption),
    h('thead', { role: 'rowgroup' }, head),
    h('tbody', { role: 'rowgroup' }, body));
}

// Terms and what they stand for; pairs without a value are left out.
export function facts(pairs) {
  const shown = pairs.filter(([, value]) => !['', null, undefined].includes(value) && value.length !== 0);
  return h('dl', { class: 'facts' },
    shown.map(([term, value]) => h('div', null, h('dt', null, term), h('dd', null, value))),
  );
}

export function section(title, ...children) {
  return h('section', null, h('h2', null, title), ...children);
}

export const badge = (text, kind = '') => h('span', { class: `badge ${kind}` }, text);

// Says it to those who do not see the page change.
export function say(text) {
  document.getElementById('said').textContent = text;
}
