// Package objectives holds what training minimises and what evaluation measures: functions from nodes to a node.
//
// An Objective compares a model's output with its target. The plain functions CrossEntropy, MSE, ... are objectives with
// the usual settings; others are fields of a struct with the same name and Options, whose method Loss is an Objective:
//
//	objective := objectives.CrossEntropyOptions{LabelSmoothing: 0.1}.Loss
//
// Formulas, defaults and sub-gradients are PyTorch's unless a comment says otherwise. Class labels are Int nodes, all
// other targets have the output's type and shape; there is no broadcasting between output and target. An objective
// applied to nodes it cannot take panics with a *graph.Error, which graph.Build returns. GaussianNLL, CosineEmbedding and
// TripletMargin compare three nodes and so are no Objectives themselves. Those that keep a state for each example, draw
// random numbers or apply the model again take a graph.Scope.
//
// LogitClip puts a limit before any objective, SpectralDecouplingOptions a penalty behind it, and a Combination adds
// several. ByName finds an objective by its name, Describe is the table below, and Register adds one's own.
//
// In the table x is the output (logits), y the label or target, p = softmax(x) or, of one logit, sigmoid(x), p_y the
// probability of the label, C the number of classes, d = x - y; symbols of the objectives of package metric are explained
// there. A name is what ByName takes, once the package in brackets is imported, if there is one, and unless the objective
// needs more than an output and a target.
//
//	name                                    formula                                                                           paper                                         when to use it
//	adaptive-margin                         -log e^{x_y}/Σ_k e^{x_k + m_k}, m_y = 0                                           Z. Yao, X. Chang 2024, 2409.13275             margins that depend on the classes
//	agce                                    ((a + 1)^q - (a + p_y)^q)/q, a = q = 0.6                                          X. Zhou et al. 2021, 2106.03110               wrong labels
//	aldr-kl                                 max_λ ldr-kl(λ) - (λ - λ0)² α log C/(2 λ0)                                        D. Zhu et al. 2023, 2112.14869                wrong labels
//	arcface (metric)                        norm-softmax of cos(θ_y + 0.5)                                                    J. Deng et al. 2019, 1801.07698               cosines to proxies; open-set recognition
//	aul                                     ((a - p_y)^q - (a - 1)^q)/q, a = 5.5, q = 3                                       X. Zhou et al. 2021, 2106.03110               wrong labels
//	bce-with-logits                         -y log p - (1-y) log(1-p), p = sigmoid(x)                                         D. Cox 1958                                   yes or no, several labels at once
//	black-box-l2                            Σ x(x-1)/(n(n-1)) - 2 Σ x y/(n m), x, y counts                                    D. Kimpara et al. 2023, 2211.03761            samplers without probabilities
//	c51                                     -Σ_i t_i log p_i, t = projection of r + γ c                                       M. Bellemare et al. 2017, 1707.06887          distributional reinforcement learning
//	center (metric)                         |f - c_y|²/2                                                                      Y. Wen et al. 2016 (ECCV)                     compact classes, beside cross-entropy
//	checkered                               -log (softmax(x_1) * ... * softmax(x_m))_y                                        M. Achab 2023, 2309.15298                     classes like fields of a chequerboard, XOR, cycles
//	circle (metric)                         log(1 + Σ_n e^{γ a_n(s_n-m)} Σ_p e^{-γ a_p(s_p-1+m)}), a = max(0, goal - s)       Y. Sun et al. 2020, 2002.10857                embeddings; a definite goal for both similarities
//	circle-class (metric)                   circle with s_p = cos_y, s_n = the other cosines                                  Y. Sun et al. 2020, 2002.10857                cosines to proxies; many classes
//	class-gaussian                          -log e^{m_c}/Σ_k e^{m_k + ½ d'Σ_c d}, m = wμ_c + b, d = w_k - w_c                 Z. Yao, X. Chang 2024, 2409.13275             classes whose examples are gone
//	contrastive (metric)                    D² if alike, max(0, 1 - D)² if not                                                R. Hadsell et al. 2006                        embeddings; the simplest
//	correctness-aware                       (max_k p_k - [argmax_k p_k = y])²                                                 Y. Liu et al. 2024, 2404.13016                calibrating a trained classifier, not training it
//	cosface (metric)                        norm-softmax of cos_y - 0.35                                                      H. Wang et al. 2018, 1801.09414               cosines to proxies; open-set recognition
//	crammer-singer                          max(0, 1 + max_{j≠y} x_j - x_y)                                                   K. Crammer, Y. Singer 2001                    margins rather than probabilities
//	cross-entropy                           -log p_y                                                                          J. Bridle 1990                                classes; the default
//	eisl                                    -Σ q s, s = mean log p of an n-gram at each place, q = softmax(s)                 G. Liu et al. 2021, 2106.15078                texts with words moved, repeated or missing
//	emo                                     ½(ce + D ce/D), D = Σ_k p_k (1 - cos(e_k, e_y)), quotient constant                S. Ren et al. 2023, 2310.04691                language models, also to tune them
//	focal                                   -(1-p_y)² log p_y                                                                 T. Lin et al. 2017, 1708.02002                many easy examples, dense prediction
//	gce                                     (1 - p_y^0.7)/0.7                                                                 Z. Zhang, M. Sabuncu 2018, 1805.07836         wrong labels
//	harmonic-log                            Σ_{k≤J} 1/k, J misses                                                             after D. Kimpara et al. 2023, 2211.03761      samplers without probabilities
//	hinge-embedding                         x if y = 1, max(0, 1 - x) if y = -1                                               R. Hadsell et al. 2006                        distances of pairs
//	hl-gauss                                -Σ_i t_i log p_i, t_i = N(y, σ²) in bin i                                         E. Imani, M. White 2018, 1806.04613           values with noise or outliers, reinforcement learning
//	huber                                   d²/2 to |d| = 1, |d| - 1/2 beyond                                                 P. Huber 1964                                 regression with some outliers
//	hyperbolic-cross-entropy (metric)       -log softmax(z)_y                                                                 K. Narayan, V. Patel 2024, 2404.14406         hierarchies, low dimensions
//	hyperbolic-pairwise-confusion (metric)  1/B Σ_i d(E(f_i), E(f_{i+B/2}))                                                   K. Narayan, V. Patel 2024, 2404.14406         one-class training, beside another loss
//	i-con (metric)                          1/n Σ_i KL(p(·|i), q(·|i))                                                        S. Alshammari et al. 2025, 2504.16929         embeddings, clusters, maps: SNE to SupCon
//	jensen-shannon                          JS_{π,1-π}(y, p)/Z, π = 1/2                                                       E. Englesson, H. Azizpour 2021, 2105.04522    wrong labels
//	kl-div                                  Σ y (log y - x)                                                                   S. Kullback, R. Leibler 1951                  soft targets, distillation
//	knowledge-entropy                       -1/ln 2 Σ z (D - D_before)                                                        B. Mahi 2025, 2503.13942                      label-free dynamics of sigmoid layers
//	l1                                      |d|                                                                               P. Laplace 1774                               regression with outliers, medians
//	label-perturbation                      bce(x, y or (1-2β) y + β)                                                         J. Liu et al. 2023, 2307.13539                dense yes or no, calibrated
//	ldr-k                                   1/K Σ_{k≤K} (x - x_y + c)_[k]                                                     D. Zhu et al. 2023, 2112.14869                errors among the first K count
//	ldr-kl                                  λ log 1/C Σ_k exp((x_k - x_y + c_k)/λ), mean |x| = 1                              D. Zhu et al. 2023, 2112.14869                wrong labels; with weight decay
//	lifted (metric)                         max(0, log Σ_n e^{1 - D_n} + D_p)²/2                                              H. Song et al. 2016, 1511.06452               embeddings; smooth mining
//	logit-clip                              -log p_y of x min(1, 1/|x|)                                                       H. Wei et al. 2023, 2212.04055                wrong labels, with any loss
//	mae                                     1 - p_y                                                                           A. Ghosh et al. 2017, 1712.09482              many wrong labels, few classes
//	mixce                                   -(η + (1-η) p_y) log p_y, weight constant, η = 1/2                                S. Zhang et al. 2023, 2305.16958              language models, noisy text
//	mse                                     d²                                                                                A. Legendre 1805                              regression; the default
//	multi-margin                            1/C Σ_{j≠y} max(0, 1 - x_y + x_j)                                                 K. Crammer, Y. Singer 2001                    margins rather than probabilities
//	multi-similarity (metric)               1/2 log(1 + Σ_p e^{-2(s - 1/2)}) + 1/50 log(1 + Σ_n e^{50(s - 1/2)})              X. Wang et al. 2019, 1904.06627               embeddings; a good first choice
//	n-pair (metric)                         log(1 + Σ_n e^{f_a·f_n - f_a·f_p})                                                K. Sohn 2016                                  embeddings of any length
//	nce                                     log p_y/Σ_k log p_k                                                               X. Ma et al. 2020, 2006.13554                 a part of other losses
//	nce-agce                                nce + 4 agce, a = 6, q = 1.5                                                      X. Zhou et al. 2021, 2106.03110               wrong labels
//	nce-aul                                 nce + 4 aul, a = 6.3, q = 1.5                                                     X. Zhou et al. 2021, 2106.03110               wrong labels
//	nce-mae                                 nce + 2 (1 - p_y)                                                                 X. Ma et al. 2020, 2006.13554                 wrong labels
//	nce-rce                                 nce + rce                                                                         X. Ma et al. 2020, 2006.13554                 wrong labels
//	nll                                     -x_y                                                                              J. Bridle 1990                                outputs that are log-probabilities
//	norm-softmax (metric)                   -log softmax(30 cos)_y                                                            F. Wang et al. 2017, 1704.06369               cosines to proxies; the default
//	nt-xent                                 -log exp(s_ij/T)/Σ_{k≠i} exp(s_ik/T), s = cos, T = 0.1                            T. Chen et al. 2020, 2002.05709               features of several views
//	odd-k-out                               -log softmax(Σ_{i in set} x_i)_pair                                               L. Muttenthaler et al. 2023, 2307.02245       few examples, unbalanced classes, calibration
//	partial-ce                              -t_y log p_y                                                                      Q. Zhao, B. Zhu 2023, 2310.07838              comparison only: does not find the teacher
//	phuber                                  -log p_y, for p_y < 1/10 its tangent                                              A. Menon et al. 2020 (ICLR)                   wrong labels
//	poisson-nll                             e^x - y x                                                                         J. Nelder, R. Wedderburn 1972                 counts
//	poly                                    -log p_y + 1-p_y                                                                  Z. Leng et al. 2022, 2204.12511               surer predictions (Eps above 0) or less sure ones
//	poly-drop                               Σ_{j≤2} (1-p_y)^j/j                                                               L. Feng et al. 2020 (IJCAI)                   wrong labels
//	poly-focal                              -(1-p_y)² log p_y + (1-p_y)³                                                      Z. Leng et al. 2022, 2204.12511               many easy examples, dense prediction
//	poly-sigmoid-focal                      -(1-q)² log q + (1-q)³, q = y p + (1-y)(1-p)                                      Z. Leng et al. 2022, 2204.12511               detection, several labels at once
//	proxy-anchor (metric)                   log(1 + Σ_p e^{-32(s - 0.1)}) + log(1 + Σ_n e^{32(s + 0.1)}), means over proxies  S. Kim et al. 2020, 2003.13911                cosines to proxies; robust, fast
//	proxy-nca (metric)                      -log(e^{-D_y²}/Σ_{k≠y} e^{-D_k²})                                                 Y. Movshovitz-Attias et al. 2017, 1703.07464  cosines to proxies; no sampling of pairs
//	proxy-nca++ (metric)                    -log softmax(-9 D²)_y                                                             E. Teh et al. 2020, 2004.01113                cosines to proxies; faster than proxy-nca
//	rce                                     -log 1e-4 (1 - p_y)                                                               Y. Wang et al. 2019, 1908.06112               a part of other losses
//	rescaled-square                         1/C [(x_y - 1)² + Σ_{j≠y} x_j²]                                                   L. Hui, M. Belkin 2020, 2006.07322            few classes
//	robust-log                              l(1) - l(p_y) + 1/(C-1) Σ_{k≠y} l(p_k), l(p) = log(1+100p)                        H. Kumar, P. Sastry 2018                      wrong labels
//	sce                                     -0.1 log p_y + 4 (1 - p_y)                                                        Y. Wang et al. 2019, 1908.06112               wrong labels
//	self-calibrating-bce                    bce(x, (1-2αβ) y + αβ), α = 0.1, β = 0.5                                          J. Liu et al. 2023, 2307.13539                yes or no, calibrated
//	smooth-adversarial                      comp-sum + ν sup_{|x'-x|≤γ} |Δ(x') - Δ(x)|, Δ_j = x_y - x_j                       A. Mao et al. 2023, 2304.07288                robustness to small changes of the input
//	smooth-l1                               d²/2 to |d| = 1, |d| - 1/2 beyond                                                 R. Girshick 2015, 1504.08083                  boxes
//	soft-labels                             Σ t log t/p                                                                       G. Hinton et al. 2015, 1503.02531             a teacher that tells all probabilities
//	soft-triple (metric)                    -log softmax(20 (s_k - 0.01 [k = y]))_y, s_k = Σ_c softmax(10 cos_kc) cos_kc      Q. Qian et al. 2019, 1909.05235               cosines to proxies; classes of several parts
//	spectral-decoupling                     -log p_y + 0.1/2 Σ_k x_k²                                                         M. Pezeshki et al. 2021, 2011.09468           spurious features; instead of weight decay
//	spectral-decoupling-target              bce(x, y) + 0.1 (x - γ_y)²                                                        M. Pezeshki et al. 2021, 2011.09468           spurious features in unbalanced groups
//	sphereface (metric)                     norm-softmax of (-1)^k cos 4θ_y - 2k, k = ⌊4θ_y/π⌋                                W. Liu et al. 2017, 1704.08063                cosines to proxies; historical comparison
//	squared-log                             ½ (log p_y - log t_y)²                                                            Q. Zhao, B. Zhu 2023, 2310.07838              a teacher that tells the probability of its label only
//	squentropy                              -log p_y + 1/(C-1) Σ_{j≠y} x_j²                                                   L. Hui et al. 2023, 2302.03952                instead of cross-entropy, over-confident nets
//	sum-exponential                         1/p_y - 1                                                                         A. Mao et al. 2023, 2304.07288                clean labels; wants clipped gradients
//	supcon (metric)                         -1/|P| Σ_p log(e^{2s_p}/Σ_{j≠a} e^{2s_j})                                         P. Khosla et al. 2020, 2004.11362             embeddings with labels; InfoNCE if labels are pairs of views
//	symmetric-cross-entropy                 -½ Σ t log p - ½ Σ p log t, t = softmax(y)                                        M. Döbler et al. 2022, 2211.13081             a student after a mean teacher, on drifting data
//	tailr                                   -p_y/(γ + (1-γ) p_y) log p_y, weight constant, γ = 1e-5                           H. Ji et al. 2023, 2302.13344                 language models, noisy text
//	triplet (metric)                        max(0, D_p² - D_n² + 0.2)                                                         F. Schroff et al. 2015, 1503.03832            embeddings; orders rather than distances
//	triplet-direction (metric)              max(0, D_p² - D_n² + 0.2 - 0.3 cos(f_n - f_a, f_p - f_a))                         D. Mohan et al. 2020 (CVPR)                   embeddings; directions of displacement
//	triplet-hard (metric)                   max(0, max D_p² - min D_n² + 0.2)                                                 A. Hermans et al. 2017, 1703.07737            embeddings; a few examples of each class a batch
//	triplet-semi-hard (metric)              D_p² - D_n² + 0.2 where D_p² < D_n² < D_p² + 0.2                                  F. Schroff et al. 2015, 1503.03832            embeddings; large batches
//	two-hot                                 -Σ_i max(0, 1 - |y - c_i|/w) log p_i                                              J. Farebrother et al. 2024, 2403.03950        values, where their mean must be exact
//	unified-pair (metric)                   log(1 + Σ_n Σ_p e^{γ(s_n - s_p + m)})                                             Y. Sun et al. 2020, 2002.10857                embeddings; a smooth hardest triplet
//	weston-watkins                          Σ_{j≠y} max(0, 1 + x_j - x_y)                                                     J. Weston, C. Watkins 1998                    margins rather than probabilities
//	zero-shot-regression (metric)           -log softmax(9.5 V W a)_y, W from the other half                                  Y. Gürbüz et al. 2023, 2308.09228             attributes of generalised sum pooling
package objectives
