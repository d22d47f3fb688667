package notebook

import (
	"os"
	"path/filepath"

	"github.com/pkg/errors"
)

// save writes both files; sync waits until they are on the disk.
func (p *Page) save(sync bool) {
	p.saveErr = replaceFile(p.htmlPath, p.htmlFile(), sync)
	if err := replaceFile(p.path, p.notebook(), sync); p.saveErr == nil {
		p.saveErr = err
	}
}

// replaceFile puts a new file in the place of path in one step: a reader, or a crash at any moment, sees the old one
// or the new one.
func replaceFile(path string, content []byte, sync bool) error {
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	err := writeFile(temporary, content, sync)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		os.Remove(temporary)
		return errors.Wrapf(err, "notebook: write %s", path)
	}
	return nil
}

func writeFile(path string, content []byte, sync bool) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil && sync {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}
