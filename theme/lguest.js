// A figure's alternative text is the sentence that it illustrates. Those who see the figure shall read it as well.
for (const label of document.querySelectorAll('.content main p > .checkbox-label:only-child')) {
    const image = label.querySelector('img[src*="figures/"]');
    if (image) {
        const caption = document.createElement('figcaption');
        caption.textContent = image.alt;
        caption.ariaHidden = 'true'; // It is read out with the image already.
        const figure = document.createElement('figure');
        label.parentElement.replaceWith(figure);
        figure.append(label, caption);
    }
}
