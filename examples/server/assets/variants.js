// Of several shapes of a setting, only the fields of the chosen one are shown and sent.

function show(select) {
  for (const field of select.closest("fieldset").querySelectorAll("[data-of]")) {
    const fits = field.dataset.of.split(" ").includes(select.value);
    field.hidden = !fits;
    for (const input of field.querySelectorAll("input, select, textarea")) input.disabled = !fits;
  }
}

export function start() {
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-variants]")) show(event.target);
  });
  const look = () => document.querySelectorAll("select[data-variants]").forEach(show);
  document.addEventListener("rounds:swapped", look);
  look();
}
