"use strict";
(function () {
  const lineage = JSON.parse(document.getElementById("lineage-data").textContent);
  const hashes = Object.keys(lineage);
  const input = document.getElementById("frame");
  const place = document.getElementById("lineage");
  const mev = (value) => (1000 * value).toFixed(1) + " meV/Å";
  const seconds = (value) => value.toFixed(1) + " s";
  const rows = [
    ["Frame", "frame"],
    ["Round", "round"],
    ["Why it was labelled", "reason"],
    ["Rank among the flagged", "rank"],
    ["Flagged by committee", "committee"],
    ["Calibration", "calibration"],
    ["Deviation of each member", "members", (list) => list.map((value) => (1000 * value).toFixed(1)).join(", ") + " meV/Å"],
    ["Disagreement", "disagreement", mev],
    ["Threshold (disagreement)", "threshold", mev],
    ["Calibrated bound", "bound", mev],
    ["Error found afterwards", "force_error", mev],
    ["Step of the dynamics", "step"],
    ["Temperature then", "temperature", (value) => value.toFixed(0) + " K"],
    ["Target energy", "energy", (value) => value.toFixed(6) + " eV"],
    ["Environment energy", "environment_energy", (value) => value.toFixed(6) + " eV"],
    ["Cost of the label", "seconds", seconds],
    ["of which quantum cores", "core_seconds", seconds],
    ["Used for", "used_for"],
    ["Sampled by calculation", "sampled_by"],
    ["Selected by", "selected_by"],
    ["Predicted by calculation", "expected_by"],
    ["Labelled by calculation", "labelled_by"],
  ];

  function show(prefix) {
    place.textContent = "";
    const found = prefix ? hashes.filter((hash) => hash.startsWith(prefix.trim().toLowerCase())) : [];
    if (found.length !== 1) {
      if (prefix) place.textContent = found.length ? found.length + " frames begin so: type more of the hash." : "No labelled frame of this campaign begins so.";
      return;
    }
    const item = lineage[found[0]];
    const table = document.createElement("table");
    table.className = "left";
    const body = table.createTBody();
    for (const [name, key, format] of rows) {
      const value = item[key];
      if (value === undefined || value === null || value === "") continue;
      const row = body.insertRow();
      const head = document.createElement("th");
      head.textContent = name;
      row.append(head);
      row.insertCell().textContent = format ? format(value) : String(value);
    }
    place.append(table);
  }

  input.addEventListener("input", () => show(input.value));
  for (const link of document.querySelectorAll("a[data-frame]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      input.value = link.dataset.frame.slice(0, 12);
      show(input.value);
      input.scrollIntoView({ block: "center" });
    });
  }
  if (hashes.length) {
    const last = hashes.reduce((one, other) => ((lineage[other].round || 0) > (lineage[one].round || 0) ? other : one));
    input.value = last.slice(0, 12);
    show(input.value);
  }
})();
