// Runs before the first paint, so that a chosen theme does not flash.
(() => {
  const themes = ['system', 'light', 'dark'];
  const read = () => {
    try {
      return localStorage.getItem('theme');
    } catch {
      return null; // A browser that keeps nothing follows the system.
    }
  };
  const write = (theme) => {
    try {
      localStorage.setItem('theme', theme);
    } catch {
      // It holds until the page is closed.
    }
  };
  let theme = themes.includes(read()) ? read() : 'system';
  const apply = () => {
    document.documentElement.dataset.theme = theme;
    const button = document.getElementById('theme');
    if (button) button.textContent = `Theme: ${theme}`;
  };
  apply();
  document.addEventListener('DOMContentLoaded', () => {
    apply();
    document.getElementById('theme').addEventListener('click', () => {
      theme = themes[(themes.indexOf(theme) + 1) % themes.length];
      write(theme);
      apply();
    });
  });
})();
