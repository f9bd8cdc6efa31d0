"use strict";
// The page is whole without this. It adds: a theme to choose, details opened at once, a filter by verdict, and the
// figures as a file. It reads no network and writes no HTML.
(() => {
  const root = document.documentElement;
  const by = (id) => document.getElementById(id);
  const told = by("told");
  by("tools").hidden = false;

  const themes = ["automatic", "light", "dark"];
  const remembered = () => { try { return localStorage.getItem("muroan-theme"); } catch { return null; } };
  const remember = (t) => { try { localStorage.setItem("muroan-theme", t); } catch { /* a file may have no storage */ } };
  const wear = (t) => {
    if (t === "automatic") root.removeAttribute("data-theme"); else root.setAttribute("data-theme", t);
    by("theme").textContent = `Theme: ${t}`;
  };
  let theme = themes.includes(remembered()) ? remembered() : "automatic";
  wear(theme);
  by("theme").addEventListener("click", () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    wear(theme);
    remember(theme);
  });

  const all = () => document.querySelectorAll("details");
  by("unfold").addEventListener("click", (event) => {
    const open = event.currentTarget.getAttribute("aria-pressed") !== "true";
    for (const d of all()) d.open = open;
    event.currentTarget.setAttribute("aria-pressed", String(open));
    event.currentTarget.textContent = open ? "Close all details" : "Open all details";
  });

  by("filter").addEventListener("change", (event) => {
    const wanted = event.currentTarget.value;
    let shown = 0;
    for (const row of document.querySelectorAll("table.verdicts [data-verdict]")) {
      row.hidden = Boolean(wanted) && row.dataset.verdict !== wanted;
      if (!row.hidden) shown += 1;
    }
    told.textContent = wanted ? `${shown} rows shown` : "";
  });

  by("save").addEventListener("click", () => {
    const file = new Blob([by("figures").textContent], { type: "application/json" });
    const link = document.createElement("a");
    link.href = URL.createObjectURL(file);
    link.download = "muroan-figures.json";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  // On paper everything is open; afterwards as it was.
  let closed = [];
  addEventListener("beforeprint", () => { closed = [...all()].filter((d) => !d.open); for (const d of closed) d.open = true; });
  addEventListener("afterprint", () => { for (const d of closed) d.open = false; });

  // A link into closed details opens them.
  const reveal = () => {
    const target = location.hash.length > 1 && by(location.hash.slice(1));
    for (let d = target && target.closest("details"); d; d = d.parentElement.closest("details")) d.open = true;
  };
  addEventListener("hashchange", reveal);
  reveal();
})();
