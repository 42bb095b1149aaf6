"use strict";

// Shows /openapi.json. Text only ever becomes text: nothing of the document is taken as markup.
(async () => {
  const $ = (id) => document.getElementById(id);
  const el = (name, attrs = {}, ...children) => {
    const e = document.createElement(name);
    for (const [k, v] of Object.entries(attrs)) e.setAttribute(k, v);
    e.append(...children.filter((c) => c !== null && c !== undefined));
    return e;
  };
  const code = (text) => el("code", {}, text);

  let doc;
  try {
    const answer = await fetch("/openapi.json");
    if (!answer.ok) throw new Error("status " + answer.status);
    doc = await answer.json();
  } catch (err) {
    $("about").textContent = "The contract could not be read: " + err.message;
    return;
  }
  const schemas = doc.components.schemas;
  const nameOf = (ref) => ref.slice(ref.lastIndexOf("/") + 1);
  const anchor = (name) => "object-" + name;

  // A type in a few words, with links to objects.
  const type = (s) => {
    if (!s) return "";
    if (s.$ref) return el("a", { href: "#" + anchor(nameOf(s.$ref)) }, nameOf(s.$ref));
    const options = s.oneOf || s.anyOf;
    if (options) return el("span", {}, ...options.flatMap((o, i) => (i ? [" or ", type(o)] : [type(o)])));
    if (s.enum) return el("span", {}, s.enum.map((v) => JSON.stringify(v)).join(" | "));
    const one = (t) => {
      if (t === "array") return el("span", {}, "list of ", type(s.items));
      if (t === "object" && s.additionalProperties) return el("span", {}, "map to ", type(s.additionalProperties));
      return t + (s.format && t !== "null" ? " (" + s.format + ")" : "");
    };
    const list = Array.isArray(s.type) ? s.type : [s.type || "any"];
    return el("span", {}, ...list.flatMap((t, i) => (i ? [" or ", one(t)] : [one(t)])));
  };

  const fields = (s) => {
    if (s.$ref) s = schemas[nameOf(s.$ref)] || {};
    const names = Object.keys(s.properties || {});
    if (!names.length) return el("p", { class: "dim" }, s.type === "object" ? "No fields: {}" : type(s));
    const rows = names.map((n) => el("tr", {},
      el("td", {}, code(n)), el("td", {}, type(s.properties[n])), el("td", {}, s.properties[n].description || "")));
    return el("table", {}, el("tr", {}, el("th", {}, "field"), el("th", {}, "type"), el("th", {}, "")), ...rows);
  };

  const parameters = (list) => el("table", {},
    el("tr", {}, el("th", {}, "parameter"), el("th", {}, "in"), el("th", {}, "type"), el("th", {}, "")),
    ...list.map((p) => el("tr", {},
      el("td", {}, code(p.name)), el("td", {}, p.in), el("td", {}, type(p.schema)), el("td", {}, p.description || ""))));

  // An example value, so that a newcomer sees the shape of a request.
  const example = (s, depth = 0) => {
    if (!s || depth > 9) return null;
    if (s.$ref) return example(schemas[nameOf(s.$ref)], depth + 1);
    const options = s.oneOf || s.anyOf;
    if (options) return example(options[0], depth + 1);
    if (s.enum) return s.enum.find((v) => v !== "") ?? s.enum[0];
    switch (Array.isArray(s.type) ? s.type[0] : s.type) {
      case "object": return Object.fromEntries(Object.entries(s.properties || {}).map(([k, v]) => [k, example(v, depth + 1)]));
      case "array": return [example(s.items, depth + 1)];
      case "integer": case "number": return s.minimum ?? 0;
      case "boolean": return false;
      case "string": return s.format === "date-time" ? "2026-01-02T15:04:05.000Z" : "";
      default: return null;
    }
  };

  const json = (content) => content && content["application/json"] && content["application/json"].schema;
  const curl = (verb, path, open, body) => {
    let s = "curl -X " + verb.toUpperCase() + " " + location.origin + path;
    if (!open) s += " \\\n  -H \"Authorization: Bearer $TOKEN\"";
    if (body) s += " \\\n  -d '" + JSON.stringify(example(body)) + "'";
    return el("pre", {}, s);
  };

  const operation = (path, verb, op) => {
    const open = op.security && op.security.length === 0;
    const body = op.requestBody && json(op.requestBody.content);
    const answer = op.responses["200"] && json(op.responses["200"].content);
    const inside = el("div", { class: "inside" });
    for (const part of (op.description || op.summary || "").split("\n\n")) inside.append(el("p", {}, part));
    if (op.parameters) inside.append(el("h4", {}, "Parameters"), parameters(op.parameters));
    if (body) inside.append(el("h4", {}, "Body ", type(body)), fields(body));
    if (answer) inside.append(el("h4", {}, "Answer ", type(answer)), fields(answer));
    inside.append(el("h4", {}, "Try it"), curl(verb, path, open, body));
    return el("details", { id: op.operationId + (document.getElementById(op.operationId) ? "-2" : "") },
      el("summary", {}, el("span", { class: "verb " + verb }, verb.toUpperCase()), code(path),
        el("span", { class: "about" }, op.summary || ""), open ? el("span", { class: "tag" }, "no token") : null),
      inside);
  };

  $("about").textContent = doc.info.description;
  for (const tag of doc.tags) {
    $("tags").append(el("a", { href: "#" + tag.name }, tag.name));
    $("operations").append(el("h2", { id: tag.name }, tag.name), el("p", {}, tag.description || ""));
    for (const [path, verbs] of Object.entries(doc.paths)) {
      for (const [verb, op] of Object.entries(verbs)) {
        if ((op.tags || []).includes(tag.name)) $("operations").append(operation(path, verb, op));
      }
    }
  }

  $("tags").append(el("a", { href: "#schemas" }, "objects"));
  $("schemas").append(el("h2", {}, "Objects"), el("p", {}, "What requests and answers are made of."));
  for (const [name, s] of Object.entries(schemas)) {
    $("schemas").append(el("details", { id: anchor(name) }, el("summary", {}, code(name)),
      el("div", { class: "inside" }, s.description ? el("p", {}, s.description) : null, fields(s))));
  }

  // A link to something that is folded unfolds it.
  const unfold = () => {
    const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target) return;
    if (target.tagName === "DETAILS") target.open = true;
    target.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();
})();
