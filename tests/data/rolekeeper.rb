class Rolekeeper < Formula
  include Language::Python::Virtualenv

  desc "Gives roles"
  homepage "https://example.org/team/rolekeeper"
  url "https://example.org/team/rolekeeper/releases/download/v0.2.0/rolekeeper-0.2.0.tar.gz"
  sha256 "0eb3e36bfb24dcd9bb1d1bece1531216b59539a8fde17ee80224af0653c92aa3"
  license "Apache-2.0"

  depends_on "libyaml"
  depends_on "python@3.13"

  resource "click" do
    url "https://files.example/a/click-8.5.1.tar.gz"
    sha256 "9bbfada76703fd1d784b83eea012e3e8c6a001a876543ef104fa56aaaeb072b4"
  end

  resource "pyyaml" do
    url "https://files.example/b/pyyaml-6.0.4.tar.gz"
    sha256 "e24bf71af8a432d7808fabff134d38dfe16d3cbb41f2873bb4b1e42422de0a1a"
  end

  def install
    virtualenv_install_with_resources
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/rolekeeper --version")
  end
end
