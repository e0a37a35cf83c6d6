// Before the first paint, so that a chosen theme never flashes; hence no module.
(() => {
  try {
    const theme = localStorage.getItem("assent.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch {
    // Storage is forbidden: the system's theme it is.
  }
})();
